"""`path("mcp", include("mcp_transport.urls"))`: the endpoint with and without a trailing slash."""

from __future__ import annotations

from django.urls import re_path

from mcp_transport.views import endpoint_view

__all__ = ["urlpatterns"]

app_name = "mcp_transport"

# The group avoids Django's check urls.W002, which warns of a pattern with a leading slash.
urlpatterns = [re_path(r"^(?:/)?$", endpoint_view, name="endpoint")]
