"""WebSocket routes of the admin's pages, wherever the admin is mounted; requires Channels."""

from __future__ import annotations

from typing import Final

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import re_path

from mcp_transport.consumers import DashboardConsumer, SessionConsumer

__all__ = ["websocket", "websocket_urlpatterns"]

_PREFIX: Final = r"^(?:.*/)?mcp_transport/session"

websocket_urlpatterns = [
    re_path(rf"{_PREFIX}/dashboard/live/$", DashboardConsumer.as_asgi()),
    re_path(rf"{_PREFIX}/(?P<key>[A-Z2-7]{{26}})/live/$", SessionConsumer.as_asgi()),
]

# Browsers send cookies with the WebSockets of any site, so the Origin must be one of ALLOWED_HOSTS.
websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
