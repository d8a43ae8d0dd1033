"""Validation of settings: each function returns what is wrong with a value, or an empty string."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_transport.domain.rate_limit import KINDS, limits
from mcp_transport.protocol.client_address import UNIX, parse_network

__all__ = [
    "cache_hints_fault",
    "dynamodb_fault",
    "implied_scopes_fault",
    "is_scope",
    "kind_name",
    "origins_fault",
    "proxies_fault",
    "rate_limits_fault",
    "region_fault",
    "result_bytes_fault",
    "scopes_fault",
    "type_fault",
    "url_fault",
    "without_store_fault",
]

# The largest integer that JavaScript and Lua can represent. The comparison also excludes NaN.
_MAX_NUMBER: Final = 2**53
_MAX_RESULT_BYTES: Final = 256 * 1024 * 1024

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749, 3.3
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#@\s*:]+|\[[0-9a-f:.]+\])(:\d+)?/?", re.I)  # RFC 6454, 6.2
_DOTTED_PATH: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_TABLE: Final = {
    "TABLE": (re.compile(r"[\w.-]{3,255}", re.A), "a name of 3 to 255 letters, digits, '_', '-' and '.'"),
    "REGION": (re.compile(r"[a-z]{2,}(-[a-z0-9]+)+"), "a region such as 'eu-west-1'"),
    "ENDPOINT_URL": (re.compile(r"https?://[^/?#@\s]+/?", re.I), "an http or https URL without a path"),
}
_REGIONS: Final = ("REGIONS", "REGION_LOST_SECONDS")
_MAX_REGIONS: Final = 16  # each has numbers of its own for the events of a session
_MAX_LOST_SECONDS: Final = 86_400
_REGION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MAX_REGION: Final = 32  # it is in each session id, of at most 512 characters
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

# The methods of 2026-07-28 whose results clients may cache (caching).
_CACHEABLE: Final = (
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
)

_NAMES: Final = {
    Sequence: "a list",
    list: "a list of strings",
    str: "a string",
    int: "an integer",
    float: "a number",
    dict: "a dict",
    bool: "True or False",
}


def type_fault(kind: Any, value: Any, *, is_secret: bool = False) -> str:
    """Check the type of a value; a secret value is not quoted."""
    if _matches(kind, value):
        return ""
    return f"expected {kind_name(kind)}, got {type(value).__name__ if is_secret else repr(value)}"


def kind_name(kind: Any) -> str:
    """Return the name of a type in plain English."""
    if isinstance(kind, types.UnionType):
        return " or ".join(kind_name(member) for member in typing.get_args(kind))
    return _NAMES.get(kind, "None")


def _matches(kind: Any, value: Any) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_matches(member, value) for member in typing.get_args(kind))
    if kind is list:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if kind is Sequence:
        return isinstance(value, list | tuple)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER
    return isinstance(value, kind)


def is_scope(value: object) -> bool:
    """Return whether a value is a scope (RFC 6749, 3.3)."""
    return isinstance(value, str) and _SCOPE.fullmatch(value) is not None


def scopes_fault(scopes: Sequence[Any]) -> str:
    """Check a list of scopes."""
    invalid = [scope for scope in scopes if not is_scope(scope)]
    return f"expected scopes, which are names without spaces or quotes, got {invalid[0]!r}" if invalid else ""


def implied_scopes_fault(implied: Mapping[Any, Any]) -> str:
    """Check a mapping of scopes to lists of scopes."""
    for scope, narrower in implied.items():
        if fault := scopes_fault([scope]):
            return fault
        if not isinstance(narrower, list | tuple | set | frozenset):
            return f"expected a list of scopes for {scope!r}, got {narrower!r}"
        if fault := scopes_fault(list(narrower)):
            return fault
    return ""


def cache_hints_fault(hints: Mapping[Any, Any]) -> str:
    """Check a mapping of methods with cacheable results to pairs of milliseconds and cache scope."""
    for method, hint in hints.items():
        if method not in _CACHEABLE:
            return f"expected some of {', '.join(_CACHEABLE)}, got {method!r}"
        is_pair = isinstance(hint, list | tuple) and len(hint) == 2
        if not is_pair or not _matches(int, hint[0]) or hint[0] < 0 or hint[1] not in ("public", "private"):
            return f"expected (milliseconds, 'public' or 'private') for {method!r}, got {hint!r}"
    return ""


def rate_limits_fault(rates: Mapping[Any, Any]) -> str:
    """Check a mapping of what limits count by to rates."""
    for key, value in rates.items():
        if key not in KINDS and not (isinstance(key, str) and _DOTTED_PATH.fullmatch(key)):
            return f"expected {', '.join(KINDS)} or the dotted path of a function, got {key!r}"
        try:
            limits(key, value)
        except ValueError as error:
            return f"{key!r}: {error}"
    return ""


def region_fault(region: str) -> str:
    """Check the name of a region."""
    if not region or (_REGION.fullmatch(region) and len(region) <= _MAX_REGION):
        return ""
    return f"expected at most {_MAX_REGION} of a-z, 0-9 and single '-', such as 'eu-west-1', got {region!r}"


def dynamodb_fault(options: Mapping[Any, Any]) -> str:
    """Check where the table is."""
    for name, value in options.items():
        if name in _REGIONS:
            continue
        if name not in _TABLE:
            return f"expected some of {', '.join((*_TABLE, *_REGIONS))}, got {name!r}"
        pattern, expected = _TABLE[name]
        if value is None and name != "TABLE":
            continue
        if not isinstance(value, str) or not pattern.fullmatch(value):
            return f"expected {expected} for {name!r}, got {value!r}"
    return _regions_fault(options) if not options.keys().isdisjoint(_REGIONS) else ""


def _regions_fault(options: Mapping[Any, Any]) -> str:
    """Check the regions of a global table."""
    regions, seconds = options.get("REGIONS"), options.get("REGION_LOST_SECONDS", 1)
    pattern, expected = _TABLE["REGION"]
    if not isinstance(regions, list | tuple) or not 2 <= len(set(map(str, regions))) == len(regions) <= _MAX_REGIONS:
        return f"expected a list of 2 to {_MAX_REGIONS} different regions for 'REGIONS', got {regions!r}"
    for region in regions:
        if not isinstance(region, str) or not pattern.fullmatch(region) or region_fault(region):
            return f"expected {expected} in 'REGIONS', got {region!r}"
    if not _matches(float, seconds) or not 1 <= seconds <= _MAX_LOST_SECONDS:
        return f"expected 1 to {_MAX_LOST_SECONDS} seconds for 'REGION_LOST_SECONDS', got {seconds!r}"
    if options.get("REGION") is not None:
        return "expected no 'REGION' beside 'REGIONS': that of a process is MCP_TRANSPORT['REGION']"
    if options.get("ENDPOINT_URL") and "{region}" not in options["ENDPOINT_URL"]:
        return f"expected '{{region}}' in 'ENDPOINT_URL' for several regions, got {options['ENDPOINT_URL']!r}"
    return ""


def without_store_fault(behavior: str) -> str:
    """Check what rate limits do without the store."""
    return "" if behavior in ("count", "refuse") else f"expected 'count' or 'refuse', got {behavior!r}"


def result_bytes_fault(size: int) -> str:
    """Check that a result with its metadata fits into a Redis value (512 MB)."""
    return f"expected at most {_MAX_RESULT_BYTES}, got {size}" if size > _MAX_RESULT_BYTES else ""


def origins_fault(origins: Sequence[str]) -> str:
    """Check a list of origins as browsers send them."""
    invalid = [origin for origin in origins if origin != "*" and not _ORIGIN.fullmatch(origin)]
    return f"expected origins like 'https://app.example.com', or '*', got {invalid[0]!r}" if invalid else ""


def proxies_fault(entries: Sequence[str]) -> str:
    """Check a list of IP addresses, networks and 'unix'."""
    for entry in entries:
        try:
            if entry != UNIX:
                parse_network(entry)
        except ValueError as error:
            return f"expected IP addresses, networks such as '10.0.0.0/8', or {UNIX!r}, got {entry!r}: {error}"
    return ""


def url_fault(url: str) -> str:
    """Check the URL of a resource (RFC 8707, 2), which may be empty."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in ("https", "http") or not url.isprintable() or " " in url:
        return f"expected an absolute URL, got {url!r}"
    if parts.query or "#" in url or "?" in url:
        return f"expected a URL without query and fragment, got {url!r}"
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        return f"expected an https URL, got {url!r}"
    return ""
