"""Which Host and Origin may talk to the endpoint, and the CORS headers browsers need.

A present and unknown Origin is refused with 403 (2025-11-25, basic/transports, "Security Warning"): without
that, a page on any site could reach a local server through DNS rebinding. CORS itself is in no revision of
the specification; it is answered because browser clients exist. ADR 27 explains the rule for the server's own origin.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.request_rules import RequestRules

__all__ = [
    "EXPOSED_HEADERS",
    "METHODS",
    "REQUEST_HEADERS",
    "cors_headers",
    "has_allowed_host",
    "has_allowed_origin",
    "host_is_allowed",
    "host_of",
    "origin_is_allowed",
    "preflight_headers",
    "scheme_of",
]

METHODS: Final = ("GET", "POST", "DELETE", "OPTIONS")
REQUEST_HEADERS: Final = (
    "Content-Type",
    "Accept",
    "Authorization",
    "Last-Event-ID",
    "Mcp-Session-Id",
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
    "Idempotency-Key",
)
"""The request headers that a page may send."""
EXPOSED_HEADERS: Final = ("Mcp-Session-Id", "WWW-Authenticate", "Retry-After")
"""The response headers that a page may read."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST: Final = re.compile(r"([a-z0-9.-]+|\[[a-f0-9]*:[a-f0-9.:]+\])(?::([0-9]+))?")  # what Django takes for a host
_LONGEST_HOST: Final = 255 + len(":65535")  # RFC 1035, 2.3.4
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_PORTS: Final = {"http": "80", "https": "443"}


# -- what a request says of itself -------------------------------------------------------------------


def host_of(headers: Headers, rules: RequestRules) -> str:
    """Return the host, perhaps with a port, that a request names: the one that Django's `get_host` judges."""
    if rules.forwarded_host and (forwarded := headers.lines("x-forwarded-host")):
        return ",".join(forwarded)  # as Django joins lines; a list of hosts is no host
    return headers.get("host", "")


def scheme_of(request: HTTPRequest, rules: RequestRules) -> str:
    """Return the scheme that the client used, or "" where a proxy may have ended TLS without saying so."""
    header = rules.forwarded_scheme
    if header is not None and (lines := request.headers.lines(header[0])):
        return "https" if ",".join(lines).split(",", 1)[0].strip() == header[1] else "http"
    if request.scheme == "https" or _is_secure_host(host_of(request.headers, rules), rules):
        return "https"
    return "" if header is None else request.scheme


def has_allowed_host(request: HTTPRequest, rules: RequestRules) -> bool:
    """Tell whether a request names a host of this server."""
    return host_is_allowed(host_of(request.headers, rules), rules.allowed_hosts)


def has_allowed_origin(request: HTTPRequest, rules: RequestRules) -> bool:
    """Tell whether a request comes from no page at all, or from one that may call."""
    headers = request.headers
    if len(origins := headers.lines("origin")) != 1:
        return not origins
    return origin_is_allowed(
        origins[0],
        host_of(headers, rules),
        rules.allowed_hosts,
        rules.allowed_origins,
        scheme=scheme_of(request, rules),
        port=",".join(headers.lines("x-forwarded-port")) if rules.forwarded_port else "",
        site=",".join(headers.lines("sec-fetch-site")),
    )


# -- the rules ---------------------------------------------------------------------------------------


def host_is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Tell whether a Host header matches `allowed`, read as Django's ALLOWED_HOSTS are read."""
    return len(host) <= _LONGEST_HOST and _host_is_allowed(host, allowed)


@lru_cache(maxsize=256)  # each request names one, mostly the same
def _host_is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    name = _host_name(host)
    return bool(name) and any(_matches(name, pattern.lower()) for pattern in allowed)


def origin_is_allowed(
    origin: str,
    host: str,
    allowed_hosts: tuple[str, ...],
    allowed_origins: tuple[str, ...],
    *,
    scheme: str = "",
    port: str = "",
    site: str = "",
) -> bool:
    """Tell whether a page of `origin` may call: it is listed, or it is the server's own.

    `scheme` and `port` are the client's, where they are known; `site` is what its browser says in Sec-Fetch-Site.
    The server's own origin is only believed when its host is named in `allowed_hosts`: under "*" a rebound
    DNS name would make any page look like our own, save on a loopback host.
    """
    if "*" in allowed_origins or origin.lower() in {item.lower().rstrip("/") for item in allowed_origins}:
        return True
    if not _is_same_origin(origin.lower(), host.lower(), scheme, port, site):
        return False
    named = tuple(pattern for pattern in allowed_hosts if pattern != "*")
    return _host_name(host) in _LOOPBACK or host_is_allowed(host, named)


def cors_headers(origin: str | None) -> tuple[tuple[str, str], ...]:
    """Return what a browser must see on every answer to a page of an allowed `origin`."""
    if not origin:
        return ()
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", ", ".join(EXPOSED_HEADERS)),
        ("Vary", "Origin"),
    )


def preflight_headers(origin: str | None, requested: str | None) -> tuple[tuple[str, str], ...]:
    """Return the answer to OPTIONS; `requested` are the header names the browser asks for.

    Asked-for `Mcp-Param-*` names are allowed by name: a wildcard would not cover Authorization.
    """
    if not origin:
        return (("Allow", ", ".join(METHODS)),)
    asked = [name.strip() for name in (requested or "").split(",")]
    params = [name for name in asked if name.lower().startswith("mcp-param-") and _TOKEN.fullmatch(name)]
    return (
        *cors_headers(origin),
        ("Access-Control-Allow-Methods", ", ".join(METHODS)),
        ("Access-Control-Allow-Headers", ", ".join([*REQUEST_HEADERS, *params])),
        ("Access-Control-Max-Age", "600"),
    )


def _is_same_origin(origin: str, host: str, scheme: str, port: str, site: str) -> bool:
    """Compare a page's origin with a request's; what is not known of the request is not compared."""
    given, _, authority = origin.partition("://")
    page, own = _HOST.fullmatch(authority), _HOST.fullmatch(host)
    if page is None or own is None or given not in _PORTS or scheme not in ("", given) or page[1] != own[1]:
        return False
    if site:
        return site == "same-origin"  # the browser knows both origins, and no page can set this header
    asked = page[2] or _PORTS[given]
    if own[2]:
        return asked == own[2]
    if port:
        # What stands behind the proxy that ends TLS forwards a port of its own, 80.
        return asked == port or (asked, port) == ("443", "80")
    # Proxies leave the port out of Host, as nginx does with $host. At a loopback host other ports are other programs.
    return asked == _PORTS[given] or own[1] not in _LOOPBACK


def _is_secure_host(host: str, rules: RequestRules) -> bool:
    return bool(rules.secure_host) and _host_name(host) == rules.secure_host


def _host_name(host: str) -> str:
    match = _HOST.fullmatch(host.lower())
    return match[1].removesuffix(".") if match is not None else ""


def _matches(name: str, pattern: str) -> bool:
    return (
        pattern == "*"
        or name == pattern
        or (pattern.startswith(".") and (name.endswith(pattern) or name == pattern[1:]))
    )
