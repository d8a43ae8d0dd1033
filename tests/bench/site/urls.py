"""The package's endpoint, and a bare view that answers as the raw handler does."""

from __future__ import annotations

from django.urls import include, path

from tests.bench.site.bare import bare

urlpatterns = [path("mcp", include("mcp_transport.urls")), path("bare", bare)]
