"""The URLs."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("mcp", include("mcp_transport.urls")),
    path("", include("mcp_transport.health")),
    path("", include("tests.projects.views")),
]
