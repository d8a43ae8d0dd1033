"""Settings and URLs of the project below a path of its host, where callers have to prove who they are."""

from __future__ import annotations

import os

from django.urls import include, path

from tests.support.site.settings import *  # noqa: F403 (settings are names in a module)
from tests.support.site.urls import page

PREFIX = "/app"
RESOURCE_URL = "https://mcp.example/app/mcp"
FORCE_SCRIPT_NAME = os.environ.get("SITE_PREFIX") or None
ROOT_URLCONF = __name__
MCP_TRANSPORT = {
    "NAME": "prefixed",
    "VERSION": "1.0",
    "AUTHENTICATORS": ["tests.support.site.counting.Counting"],
    "RESOURCE_URL": RESOURCE_URL,
    "AUTHORIZATION_SERVERS": ["https://auth.example"],
}

urlpatterns = [
    path("mcp", include("mcp_transport.urls")),
    path("", include("mcp_transport.health")),
    path("", include("mcp_transport.well_known")),
    path("page", page),
]
