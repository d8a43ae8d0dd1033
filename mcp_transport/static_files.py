"""Detects whether static files are served: ASGI servers do not, and the admin needs its styles."""

from __future__ import annotations

from django.conf import settings

__all__ = ["are_served"]


def are_served() -> bool:
    """Return whether static files need no web server: WhiteNoise serves them, or STATIC_URL is on another host."""
    url = settings.STATIC_URL or ""
    is_external = not url.startswith("/") or url.startswith("//")
    return is_external or any("whitenoise" in name.lower() for name in settings.MIDDLEWARE)
