"""`path("mcp", include("mcp_transport.urls"))`: the endpoint with and without a trailing slash."""

from __future__ import annotations

from django.urls import re_path

from mcp_transport.views import endpoint_view

__all__ = ["urlpatterns"]

app_name = "mcp_transport"

# The group keeps Django's check urls.W002 quiet, which takes a leading slash for a mistake.
urlpatterns = [re_path(r"^(?:/)?$", endpoint_view, name="endpoint")]
