"""ASGI entry point: MCP is answered before Django's handler, everything else by Django."""

import os

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

from mcp_transport.asgi import mount

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcpsite.settings")

django_application = get_asgi_application()
if settings.DEBUG:
    # In development the admin's style sheets come from here, in production from the web server.
    django_application = ASGIStaticFilesHandler(django_application)

# Imports models, so Django has to be set up by now.
from mcp_transport.routing import websocket  # noqa: E402

# Django's middleware does not run for /mcp: to let tools see who is logged in to the admin,
# wrap the mount in channels.auth.AuthMiddlewareStack.
application = ProtocolTypeRouter({"http": mount(django_application, path="/mcp"), "websocket": websocket})
