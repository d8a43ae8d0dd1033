"""WSGI entry point; prefer ASGI, which keeps long MCP streams off worker threads."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcpsite.settings")

application = get_wsgi_application()
