"""WSGI entry point: the admin works as under ASGI, but MCP answers with JSON only, for WSGI cannot hold streams."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcpsite.settings")

application = get_wsgi_application()
