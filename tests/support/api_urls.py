"""The REST API, mounted as its how-to says."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("mcp-api/", include("mcp_transport.api.urls"))]
