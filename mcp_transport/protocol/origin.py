"""Which Host and Origin may talk to the endpoint, and the CORS headers browsers need.

A present and unknown Origin is refused with 403 (2025-11-25, basic/transports, "Security Warning"): without
that, a page on any site could reach a local server through DNS rebinding. CORS itself is in no revision of
the specification; it is answered because browser clients exist.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = ["cors_headers", "host_is_allowed", "origin_is_allowed", "preflight_headers"]

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST: Final = re.compile(r"([a-z0-9.-]+|\[[a-f0-9]*:[a-f0-9.:]+\])(?::[0-9]+)?")  # what Django takes for a host
_METHODS: Final = "GET, POST, DELETE, OPTIONS"
_REQUEST_HEADERS: Final = (
    "Content-Type, Accept, Authorization, Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name"
)
_EXPOSED: Final = "Mcp-Session-Id, WWW-Authenticate, Retry-After"


@lru_cache(maxsize=256)  # each request names one, mostly the same
def host_is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Tell whether a Host header matches `allowed`, read as Django's ALLOWED_HOSTS are read."""
    name = _host_name(host)
    return bool(name) and any(_matches(name, pattern.lower()) for pattern in allowed)


def origin_is_allowed(
    origin: str, host: str, allowed_hosts: tuple[str, ...], allowed_origins: tuple[str, ...]
) -> bool:
    """Tell whether a page of `origin` may call: it is listed, or it is the server's own.

    The server's own origin is only believed when its host is named in `allowed_hosts`: under "*" a rebound
    DNS name would make any page look like our own, save on a loopback host.
    """
    if "*" in allowed_origins or origin.lower() in {item.lower().rstrip("/") for item in allowed_origins}:
        return True
    scheme, _, authority = origin.lower().partition("://")
    if scheme not in {"http", "https"} or authority != host.lower():
        return False
    named = tuple(pattern for pattern in allowed_hosts if pattern != "*")
    return _host_name(host) in _LOOPBACK or host_is_allowed(host, named)


def cors_headers(origin: str | None) -> tuple[tuple[str, str], ...]:
    """Return what a browser must see on every answer to a page of an allowed `origin`."""
    if not origin:
        return ()
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _EXPOSED),
        ("Vary", "Origin"),
    )


def preflight_headers(origin: str | None, requested: str | None) -> tuple[tuple[str, str], ...]:
    """Return the answer to OPTIONS; `requested` are the header names the browser asks for.

    Asked-for `Mcp-Param-*` names are allowed by name: a wildcard would not cover Authorization.
    """
    if not origin:
        return (("Allow", _METHODS),)
    asked = [name.strip() for name in (requested or "").split(",")]
    params = [name for name in asked if name.lower().startswith("mcp-param-")]
    return (
        *cors_headers(origin),
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Allow-Headers", ", ".join([_REQUEST_HEADERS, *params])),
        ("Access-Control-Max-Age", "600"),
    )


def _host_name(host: str) -> str:
    match = _HOST.fullmatch(host.lower())
    return match[1].removesuffix(".") if match is not None else ""


def _matches(name: str, pattern: str) -> bool:
    return (
        pattern == "*"
        or name == pattern
        or (pattern.startswith(".") and (name.endswith(pattern) or name == pattern[1:]))
    )
