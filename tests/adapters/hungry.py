"""A project whose tools keep their arguments until their client leaves; servers import it, with little memory."""

from __future__ import annotations

import asyncio
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import include, path

if not settings.configured:
    settings.configure(
        SECRET_KEY="a-key-for-tests-only-which-protects-nothing-at-all",
        ALLOWED_HOSTS=["localhost", "127.0.0.1"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "mcp_transport"],
        MCP_TRANSPORT={"MAX_REQUEST_BYTES": 4 * 1024 * 1024, "SSE_AFTER_SECONDS": 0.1},
    )
    django.setup()

from mcp_transport import tool
from mcp_transport.asgi import mount


@tool
async def keep(value: Any) -> str:
    """Keep a value."""
    await asyncio.Event().wait()
    return "never"


@tool
async def keep_typed(value: list[dict[str, Any]] | list[list[Any]] | list[str]) -> str:
    """Keep a value, and what validation makes of it."""
    await asyncio.Event().wait()
    return "never"


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


urlpatterns = [path("mcp", include("mcp_transport.urls")), path("", include("mcp_transport.health"))]
view = get_asgi_application()
mounted = mount(view)
