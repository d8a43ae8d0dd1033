"""A project whose URLconf leads to no endpoint, and ASGI applications that do."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

from mcp_transport.asgi import mount

urlpatterns: list[object] = []

application = mount(get_asgi_application())
elsewhere = mount(get_asgi_application(), path="/tools")
