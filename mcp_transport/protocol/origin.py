"""Validation of Host and Origin, and the CORS headers for browser clients.

An Origin that is not allowed is refused with 403 (2025-11-25, basic/transports, "Security Warning"): otherwise a page
of any site could reach a local server through DNS rebinding. No revision of the specification mentions CORS; it is
supported for browser clients. ADR 27 explains the rule for the server's own origin.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from mcp_transport.protocol.headers import REGION_HEADER, Headers
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
"""Access-Control-Allow-Headers: the request headers that a page may send."""
EXPOSED_HEADERS: Final = ("Mcp-Session-Id", "WWW-Authenticate", "Retry-After", REGION_HEADER)
"""Access-Control-Expose-Headers: the response headers that a page may read."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST: Final = re.compile(r"([a-z0-9.-]+|\[[a-f0-9]*:[a-f0-9.:]+\])(?::([0-9]+))?")  # as in Django
_MAX_HOST: Final = 255 + len(":65535")  # characters: RFC 1035, 2.3.4
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_PORTS: Final = {"http": "80", "https": "443"}


# -- host, scheme and origin of a request ------------------------------------------------------------


def host_of(headers: Headers, rules: RequestRules) -> str:
    """Return the host of a request, with a port if it names one; the same value that Django's `get_host` checks."""
    if rules.forwarded_host and (forwarded := headers.lines("x-forwarded-host")):
        return ",".join(forwarded)  # joined as in Django; a list of hosts is not a valid host
    return headers.get("host", "")


def scheme_of(request: HTTPRequest, rules: RequestRules) -> str:
    """Return the scheme that the client used; "" if a proxy may have terminated TLS without a header that says so."""
    header = rules.forwarded_scheme
    if header is not None and (lines := request.headers.lines(header[0])):
        return "https" if ",".join(lines).split(",", 1)[0].strip() == header[1] else "http"
    if request.scheme == "https" or _is_secure_host(host_of(request.headers, rules), rules):
        return "https"
    return "" if header is None else request.scheme


def has_allowed_host(request: HTTPRequest, rules: RequestRules) -> bool:
    """Return whether the Host of a request is allowed."""
    return host_is_allowed(host_of(request.headers, rules), rules.allowed_hosts)


def has_allowed_origin(request: HTTPRequest, rules: RequestRules) -> bool:
    """Return whether a request has no Origin, or one that is allowed."""
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


# -- rules -------------------------------------------------------------------------------------------


def host_is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Return whether a Host header matches `allowed`, by the rules of Django's ALLOWED_HOSTS."""
    return len(host) <= _MAX_HOST and _host_is_allowed(host, allowed)


@lru_cache(maxsize=256)  # checked for every request, mostly with the same host
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
    """Return whether a page of `origin` may send requests: its origin is listed, or is the server's own.

    `scheme` and `port` are those that the client used, if known; `site` is the value of Sec-Fetch-Site. The server's
    own origin is only accepted if `allowed_hosts` names its host: with "*", DNS rebinding would make any page appear
    to be of the same origin. Loopback hosts are exempt.
    """
    if "*" in allowed_origins or origin.lower() in {item.lower().rstrip("/") for item in allowed_origins}:
        return True
    if not _is_same_origin(origin.lower(), host.lower(), scheme, port, site):
        return False
    listed = tuple(pattern for pattern in allowed_hosts if pattern != "*")
    return _host_name(host) in _LOOPBACK or host_is_allowed(host, listed)


def cors_headers(origin: str | None) -> tuple[tuple[str, str], ...]:
    """Return the CORS headers of every response to a page of an allowed `origin`."""
    if not origin:
        return ()
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", ", ".join(EXPOSED_HEADERS)),
        ("Vary", "Origin"),
    )


def preflight_headers(origin: str | None, requested: str | None) -> tuple[tuple[str, str], ...]:
    """Return the headers of the response to OPTIONS; `requested` is Access-Control-Request-Headers.

    Requested `Mcp-Param-*` headers are allowed by name: a wildcard would not cover Authorization.
    """
    if not origin:
        return (("Allow", ", ".join(METHODS)),)
    names = [name.strip() for name in (requested or "").split(",")]
    params = [name for name in names if name.lower().startswith("mcp-param-") and _TOKEN.fullmatch(name)]
    return (
        *cors_headers(origin),
        ("Access-Control-Allow-Methods", ", ".join(METHODS)),
        ("Access-Control-Allow-Headers", ", ".join([*REQUEST_HEADERS, *params])),
        ("Access-Control-Max-Age", "600"),
    )


def _is_same_origin(origin: str, host: str, scheme: str, port: str, site: str) -> bool:
    """Compare a page's origin with a request's; parts that are unknown for the request are not compared."""
    page_scheme, _, authority = origin.partition("://")
    page, own = _HOST.fullmatch(authority), _HOST.fullmatch(host)
    if page is None or own is None or page_scheme not in _PORTS or page[1] != own[1]:
        return False
    if scheme not in ("", page_scheme):
        return False
    if site:
        return site == "same-origin"  # the browser compared the origins; pages cannot set this header
    page_port = page[2] or _PORTS[page_scheme]
    if own[2]:
        return page_port == own[2]
    if port:
        # A second proxy, behind the one that terminates TLS, forwards its own port: 80.
        return page_port == port or (page_port, port) == ("443", "80")
    # Proxies omit the port from Host, as nginx does with $host. On a loopback host, other ports are other programs.
    return page_port == _PORTS[page_scheme] or own[1] not in _LOOPBACK


def _is_secure_host(host: str, rules: RequestRules) -> bool:
    return bool(rules.secure_host) and _host_name(host) == rules.secure_host


def _host_name(host: str) -> str:
    match = _HOST.fullmatch(host.lower())
    return match[1].removesuffix(".") if match is not None else ""


def _matches(name: str, pattern: str) -> bool:
    return pattern in ("*", name) or (pattern.startswith(".") and f".{name}".endswith(pattern))
