"""The site as an ASGI application: the mount at /mcp before Django; the header X-User says who calls."""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.attack.site.settings")
django_application = get_asgi_application()

from mcp_transport.asgi import mount  # noqa: E402 (after Django is set up)

_mounted = mount(django_application, path="/mcp")


class Caller:
    """A user without any permission, whom no database knows."""

    is_active = is_authenticated = True
    is_superuser = is_staff = is_anonymous = False

    def __init__(self, name: str) -> None:
        self.pk = name

    def get_username(self) -> str:
        return self.pk

    def has_perm(self, permission: str, of: object = None) -> bool:
        return False

    def has_perms(self, permissions: object, of: object = None) -> bool:
        return False


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the endpoint before Django's handler."""
    if name := dict(scope.get("headers", ())).get(b"x-user", b"").decode("latin-1"):
        scope["user"] = Caller(name)
    await _mounted(scope, receive, send)
