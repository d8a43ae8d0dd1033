"""ASGI entry point: MCP requests are served before Django's handler, all others by Django."""

import os

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

from mcp_transport.asgi import mount

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcpsite.settings")

django_application = get_asgi_application()
if settings.DEBUG:
    # Serves the admin's static files in development; in production the web server does.
    django_application = ASGIStaticFilesHandler(django_application)

# Imports models, so Django must be set up first.
from mcp_transport.routing import websocket  # noqa: E402

# Django's middleware does not run for /mcp: if tools need the admin's logged-in user,
# wrap the mount in channels.auth.AuthMiddlewareStack.
application = ProtocolTypeRouter({"http": mount(django_application, path="/mcp"), "websocket": websocket})
