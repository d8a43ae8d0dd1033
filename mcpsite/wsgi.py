"""WSGI entry point: the admin works as under ASGI, but MCP has only JSON responses, because WSGI cannot stream."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcpsite.settings")

application = get_wsgi_application()
