"""URLs of the site: the endpoint as a view at /view, beside the mount at /mcp."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [
    path("", include("mcp_transport.health")),
    path("view", include("mcp_transport.urls")),
]
