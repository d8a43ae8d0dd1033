"""Everything that operators can look at."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("mcp_transport.health")),
    path("", include("mcp_transport.metrics")),
    path("mcp-api/", include("mcp_transport.api.urls")),
    path("admin/", admin.site.urls),
]
