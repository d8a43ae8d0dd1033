"""The authorization server as an ASGI application."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.auth.oauth.authorization_server.settings")

application = get_asgi_application()
