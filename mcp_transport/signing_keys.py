"""Signing and encryption keys, derived from SECRET_KEY."""

from __future__ import annotations

import hashlib
import hmac

from django.conf import settings

__all__ = ["derived_keys"]


def derived_keys(purpose: str) -> tuple[bytes, ...]:
    """Derive a key ring for a purpose: 32-byte keys from SECRET_KEY and SECRET_KEY_FALLBACKS."""
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    label = f"mcp_transport/{purpose}".encode()
    return tuple(hmac.new(_bytes(secret), label, hashlib.sha256).digest() for secret in dict.fromkeys(secrets))


def _bytes(secret: str | bytes) -> bytes:
    return secret if isinstance(secret, bytes) else secret.encode()
