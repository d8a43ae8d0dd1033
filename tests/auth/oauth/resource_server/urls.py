"""URLs of the resource server."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [
    path("mcp", include("mcp_transport.urls")),
    path("", include("mcp_transport.well_known")),
    path("", include("mcp_transport.health")),
]
