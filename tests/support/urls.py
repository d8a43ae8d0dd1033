"""The URLs of the test run."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("mcp", include("mcp_transport.urls")),
    path("", include("mcp_transport.health")),
    path("admin/", admin.site.urls),
]
