"""The URLs of all projects but startproject's."""

from __future__ import annotations

from django.apps import apps
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("mcp", include("mcp_transport.urls")),
    path("", include("mcp_transport.health")),
    path("", include("tests.projects.sites.views")),
]
if apps.is_installed("django.contrib.admin"):
    urlpatterns.append(path("admin/", admin.site.urls))
