"""The site as an ASGI application; the header X-User says who calls, and these tests believe it."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.support.cluster.site.settings")
django_application = get_asgi_application()

from mcp_transport.asgi import mount  # noqa: E402 (after Django is set up)
from tests.support.loop_guard import watch_server  # noqa: E402

watch_server()
_mounted = mount(django_application, path="/mcp")


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the endpoint before Django's handler."""
    name = dict(scope.get("headers", ())).get(b"x-user", b"").decode()
    if name:
        scope["user"] = SimpleNamespace(pk=name, is_authenticated=True, get_username=lambda: name)
    await _mounted(scope, receive, send)
