"""The package mounted in front of Django."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from mcp_transport.asgi import mount

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.overload.site.settings")

application = mount(get_asgi_application(), path="/mcp")
