"""URLs of the demonstration project."""

from django.contrib import admin
from django.urls import include, path

from mcpsite.views import index

urlpatterns = [
    path("", index, name="index"),
    path("", include("mcp_transport.health")),
    path("", include("mcp_transport.metrics")),  # not public: the proxy blocks it
    path("admin/", admin.site.urls),
    path("mcp", include("mcp_transport.urls")),
    path("mcp-api/", include("mcp_transport.api.urls")),
]
