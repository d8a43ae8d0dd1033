"""The site as an ASGI application; the header X-User says who calls /mcp, and these tests believe it.

With SITE_WEBSOCKET=no, nobody answers WebSockets.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from channels.routing import ProtocolTypeRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.browser.site.settings")
django_application = ASGIStaticFilesHandler(get_asgi_application())

from mcp_transport.asgi import mount  # noqa: E402 (after Django is set up)
from mcp_transport.routing import websocket  # noqa: E402

_mounted = mount(django_application, path="/mcp")


async def believe(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Take the caller's word for who he is."""
    name = dict(scope["headers"]).get(b"x-user", b"").decode()
    if name:
        scope["user"] = SimpleNamespace(pk=name, is_authenticated=True, get_username=lambda: name)
    await _mounted(scope, receive, send)


protocols: dict[str, Any] = {"http": believe}
if os.environ.get("SITE_WEBSOCKET") != "no":
    protocols["websocket"] = websocket

application = ProtocolTypeRouter(protocols)
