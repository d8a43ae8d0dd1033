"""URLs of the site."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [
    path("", include("mcp_transport.health")),
    path("", include("mcp_transport.metrics")),
    path("mcp", include("mcp_transport.urls")),
]
