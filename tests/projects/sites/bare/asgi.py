"""The endpoint as a view at /mcp, and mounted at /mounted."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from mcp_transport.asgi import mount

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.projects.sites.bare.settings")

application = mount(get_asgi_application(), path="/mounted")
