"""Who serves static files: the admin has no style without them, and ASGI servers serve none."""

from __future__ import annotations

from django.conf import settings

__all__ = ["are_served"]


def are_served() -> bool:
    """Tell whether nothing in front of the project has to: WhiteNoise does, or STATIC_URL is on another host."""
    url = settings.STATIC_URL or ""
    is_elsewhere = not url.startswith("/") or url.startswith("//")
    return is_elsewhere or any("whitenoise" in name.lower() for name in settings.MIDDLEWARE)
