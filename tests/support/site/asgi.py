"""Two ASGI applications of one project: the endpoint as a Django view, and mounted in front of Django."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from mcp_transport.asgi import mount
from tests.support.loop_guard import watch_server

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.support.site.settings")

view = get_asgi_application()
mounted = mount(view, path="/mcp")
watch_server()
