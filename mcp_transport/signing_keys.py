"""Signing and encryption keys, derived from SECRET_KEY."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.utils.encoding import force_bytes

__all__ = ["derived_keys"]


def derived_keys(purpose: str) -> tuple[bytes, ...]:
    """Derive a key ring for a purpose: 32-byte keys from SECRET_KEY and SECRET_KEY_FALLBACKS."""
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    label = f"mcp_transport/{purpose}".encode()
    return tuple(hmac.digest(force_bytes(secret), label, "sha256") for secret in dict.fromkeys(secrets))
