"""HTTP on the loopback interface."""

from __future__ import annotations

import ssl
from typing import Any, Final

import httpx2

TIMEOUT_SECONDS: Final = 20.0
"""Seconds after which an answer counts as missing."""

# To read the certificates that clients trust takes each new one much longer than all it does here.
_NOBODY_TRUSTED: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def client(**options: Any) -> httpx2.AsyncClient:
    """Make a client that asks no proxy, and waits for no answer for ever."""
    return httpx2.AsyncClient(verify=_NOBODY_TRUSTED, trust_env=False, timeout=TIMEOUT_SECONDS, **options)
