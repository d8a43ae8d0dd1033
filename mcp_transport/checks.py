"""System checks. Their ids are stable, their hints name the setting to change; see `docs/reference/checks.md`."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from inspect import iscoroutinefunction, unwrap
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.http import HttpResponse
from django.urls import NoReverseMatch, get_script_prefix, is_valid_path, reverse
from django.utils.module_loading import import_string

from mcp_transport import bootstrap, conf
from mcp_transport.backends.base import Backend
from mcp_transport.discovery import declared, needs_declarations
from mcp_transport.protocol.headers import REGION_HEADER
from mcp_transport.protocol.origin import EXPOSED_HEADERS, METHODS, REQUEST_HEADERS
from mcp_transport.session_backend import max_event_bytes

__all__ = ["CHECKS"]

TESTED_SDK: Final = ((2, 3), (2, 4))
"""The `mcp` releases that this package was tested with: from the first, below the second."""

_LOOPBACK: Final = {"localhost", ".localhost", "127.0.0.1", "[::1]", "testserver"}
_WORKER_VARIABLES: Final = ("WEB_CONCURRENCY", "GRANIAN_WORKERS")


def check_settings(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report the errors for which the endpoint refuses requests: unknown settings, invalid values, unusable parts."""
    for fault in bootstrap.faults() if needs_declarations() else conf.faults():
        yield Error(fault.message, hint=fault.hint, id=fault.id)


def check_workers(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about a backend in process memory with several worker processes."""
    count = 0 if conf.faults() else _workers()
    if count > 1 and (backend := _backend()) and not (backend.shares_sessions and backend.shares_streams):
        data = "streams" if backend.shares_sessions else "sessions"
        yield Warning(
            f"{count} workers are configured, but {data} are stored in the memory of one process: requests that "
            "reach another worker fail.",
            hint="Run one worker, or set MCP_TRANSPORT['BACKEND'] to a backend that all workers share.",
            id="mcp_transport.W001",
        )


def check_rate_limits(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about rate limits that each of several processes counts alone."""
    count = 0 if conf.faults() else _workers()
    if count > 1 and _has_rate_limits() and (backend := _backend()) and backend.rates is None:
        yield Warning(
            f"{count} workers are configured, and each of them counts rate limits alone: together they admit up to "
            f"{count} times the rate.",
            hint="Set MCP_TRANSPORT['BACKEND'] to 'redis' or 'dynamodb', or divide the rates by the number of "
            "workers.",
            id="mcp_transport.W016",
        )


def check_listing(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about a backend without an index of sessions."""
    if needs_declarations() and not conf.faults() and (backend := _backend()) and backend.index is None:
        yield Warning(
            f"The backend {bootstrap.backend_name()!r} cannot list sessions: the admin, the REST API and "
            "mcp_sessions show none.",
            hint="Give the Backend an index, or silence this check if nobody needs to see sessions.",
            id="mcp_transport.W015",
        )


def check_event_sizes(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about results that the backend cannot store."""
    limit = None if conf.faults() else max_event_bytes()
    if limit is not None and (size := conf.get("MAX_RESULT_BYTES")) > limit:
        yield Warning(
            f"MAX_RESULT_BYTES is {size}, but the backend {bootstrap.backend_name()!r} stores events of at most "
            f"{limit} bytes: a larger result cannot be stored.",
            hint=f"Set MCP_TRANSPORT['MAX_RESULT_BYTES'] to {limit} or less.",
            id="mcp_transport.W018",
        )


def check_middleware(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about middleware that moves the view from the event loop to a thread."""
    for path in settings.MIDDLEWARE:
        try:
            middleware = import_string(path)
        except ImportError:
            continue  # reported by Django
        if not getattr(middleware, "async_capable", False):
            yield Warning(
                f"{path} is not async-capable: each request occupies a thread until its response starts.",
                hint="Remove it from MIDDLEWARE, or use `mcp_transport.asgi.mount`, which bypasses middleware.",
                id="mcp_transport.W003",
            )


def check_trailing_slash(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about an endpoint whose URL requires a trailing slash."""
    if (url := _endpoint_url()).endswith("/"):
        yield Warning(
            f"The endpoint is served at {url} only: APPEND_SLASH turns a POST to {url.rstrip('/')} into a GET.",
            hint='Use path("mcp", include("mcp_transport.urls")), without a slash, which serves both URLs.',
            id="mcp_transport.W004",
        )


def check_eviction(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about a cache that evicts sessions when it is full."""
    if conf.faults() or bootstrap.backend_name() != "cache":
        return
    alias, options = conf.get("CACHE"), settings.CACHES[conf.get("CACHE")]
    kind = options["BACKEND"].rsplit(".", 1)[-1]
    limit = options.get("OPTIONS", {}).get("MAX_ENTRIES", 300)
    if kind in ("LocMemCache", "DatabaseCache", "FileBasedCache") and limit < 10_000:
        yield Warning(
            f"The cache {alias!r} holds {limit} entries and then evicts some, including sessions.",
            hint=f"Set CACHES[{alias!r}]['OPTIONS']['MAX_ENTRIES'] to at least 10000, or use another cache.",
            id="mcp_transport.W005",
        )
    elif "memcached" in options["BACKEND"].lower():
        yield Warning(
            f"The cache {alias!r} is memcached, which evicts the least recently used entries when it is full.",
            hint="Set MCP_TRANSPORT['CACHE'] to a cache that is used for sessions only.",
            id="mcp_transport.W005",
        )


def check_debug(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about DEBUG with a public host."""
    public = sorted(set(settings.ALLOWED_HOSTS) - _LOOPBACK)
    if settings.DEBUG and public:
        yield Warning(
            f"DEBUG is True and ALLOWED_HOSTS has {', '.join(public)}: error pages would show settings and code.",
            hint="Set DEBUG = False.",
            id="mcp_transport.W006",
        )


def check_anonymous_access(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about a public host on which anonymous callers may call tools."""
    if conf.faults():
        return
    public = sorted(set(settings.ALLOWED_HOSTS) - _LOOPBACK)
    if public and None in conf.get("AUTHENTICATORS"):
        yield Warning(
            f"ALLOWED_HOSTS has {', '.join(public)}, and MCP_TRANSPORT['AUTHENTICATORS'] admits callers without "
            "credentials: anybody may call tools.",
            hint="Remove None from MCP_TRANSPORT['AUTHENTICATORS'] and add an authenticator; see "
            "docs/howto/authentication.md. Silence this check if all tools are public.",
            id="mcp_transport.W009",
        )


def check_resource(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn if clients cannot discover the authorization server."""
    if conf.faults() or not needs_declarations():
        return
    from mcp_transport.auth.factory import build_authentication

    try:
        resource, _ = build_authentication().resource, reverse("mcp_transport:endpoint")
    except (NoReverseMatch, ImproperlyConfigured):
        return  # reported by check_settings, or served by the ASGI mount, which serves the metadata, too
    if resource.has_metadata and not any(map(is_valid_path, resource.metadata_paths)):
        yield Warning(
            f"No URL pattern matches {resource.metadata_paths[0]}, where clients discover the authorization server.",
            hint='Add path("", include("mcp_transport.well_known")) to the root URLconf.',
            id="mcp_transport.W010",
        )


def check_sdk(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about an `mcp` release that this package was not tested with."""
    version = importlib.metadata.version("mcp")
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    low, high = TESTED_SDK
    if not low <= release < high:
        yield Warning(
            f"The MCP SDK has version {version}; this package was tested with {_dotted(low)} up to {_dotted(high)}.",
            hint=f'Install "mcp>={_dotted(low)},<{_dotted(high)}", or a newer django-mcp-transport.',
            id="mcp_transport.W007",
        )


def check_declarations(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about declarations that are not served."""
    if conf.faults() or not conf.get("SERVER") or not needs_declarations():
        return
    declarations = declared()
    if declarations.tools or declarations.resources or declarations.prompts:
        yield Warning(
            "Tools, resources or prompts declared with the decorators of mcp_transport are not served, because "
            "MCP_TRANSPORT['SERVER'] names another server.",
            hint="Move them to that server, or remove MCP_TRANSPORT['SERVER'].",
            id="mcp_transport.W008",
        )


def check_transactions(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about asynchronous tools with ATOMIC_REQUESTS."""
    if not needs_declarations():
        return
    if not any(options["ATOMIC_REQUESTS"] for options in connections.settings.values()):
        return  # most projects; the following imports the SDK
    from mcp_transport.function_adapter import databases_with_atomic_requests

    atomic = {name: tool.fn for name, tool in declared().tools.items() if tool.atomic}
    functions = {name: function for name, function in atomic.items() if databases_with_atomic_requests(function)}
    if tools := [name for name, function in functions.items() if iscoroutinefunction(unwrap(function))]:
        yield Warning(
            "ATOMIC_REQUESTS has no effect on asynchronous tools, since Django has no asynchronous transactions: "
            f"{', '.join(tools)}.",
            hint="Make them synchronous, or move the database work into a function that `sync_to_async` runs in "
            "`transaction.atomic()`, and declare them with @tool(atomic=False).",
            id="mcp_transport.W011",
        )


def check_persistent_connections(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about persistent connections under ASGI, where each request has a thread of its own."""
    if not getattr(settings, "ASGI_APPLICATION", None):
        return
    for alias, options in connections.settings.items():
        if options["CONN_MAX_AGE"] != 0 and not options.get("OPTIONS", {}).get("pool"):
            yield Warning(
                f"CONN_MAX_AGE of the database {alias!r} is not 0: under ASGI each request and each call has a "
                "thread of its own, so connections are rarely reused.",
                hint='Set CONN_MAX_AGE to 0, or use a connection pool: "OPTIONS": {"pool": True}.',
                id="mcp_transport.W012",
            )


def check_cors(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn about django-cors-headers if it handles the endpoint without the headers of MCP."""
    url = _endpoint_url()  # the ASGI mount bypasses middleware
    path = "/" + url.removeprefix(get_script_prefix())
    if not url or conf.faults() or not (missing := _missing_in_cors(path)):
        return
    details = "; ".join(f"{setting} lacks {', '.join(names)}" for setting, names in missing.items())
    yield Warning(
        f"django-cors-headers handles {path}, and pages of other origins cannot use it: {details}.",
        hint=f'Exclude the endpoint with CORS_URLS_REGEX = r"^(?!{path}|/\\.well-known/)", since it implements CORS '
        "itself, or add the missing values; see docs/howto/browser-clients.md.",
        id="mcp_transport.W013",
    )


CHECKS: Final[tuple[Callable[..., Iterator[CheckMessage]], ...]] = (
    check_settings,
    check_workers,
    check_rate_limits,
    check_listing,
    check_event_sizes,
    check_middleware,
    check_trailing_slash,
    check_eviction,
    check_debug,
    check_anonymous_access,
    check_resource,
    check_sdk,
    check_declarations,
    check_transactions,
    check_persistent_connections,
    check_cors,
)


def _missing_in_cors(path: str) -> dict[str, list[str]]:
    """Return the values that pages need and that django-cors-headers does not allow at a path, by its settings."""
    if not any("cors" in name.lower() and name.endswith("CorsMiddleware") for name in settings.MIDDLEWARE):
        return {}
    try:
        from corsheaders.conf import conf as cors
        from corsheaders.middleware import CorsMiddleware
    except ImportError:
        return {}
    if not re.match(cors.CORS_URLS_REGEX, path):
        return {}
    middleware = CorsMiddleware(lambda request: HttpResponse())
    origins = [origin for origin in conf.get("ALLOWED_ORIGINS") if origin != "*" and not cors.CORS_ALLOW_ALL_ORIGINS]
    exposed = [name for name in EXPOSED_HEADERS if name != REGION_HEADER or conf.get("REGION")]
    missing = {
        "CORS_ALLOW_HEADERS": _missing(REQUEST_HEADERS, cors.CORS_ALLOW_HEADERS),
        "CORS_ALLOW_METHODS": _missing(METHODS, cors.CORS_ALLOW_METHODS),
        # If empty, the headers of the endpoint stay in place.
        "CORS_EXPOSE_HEADERS": _missing(exposed, cors.CORS_EXPOSE_HEADERS or exposed),
        "CORS_ALLOWED_ORIGINS": [
            origin for origin in origins if not middleware.origin_found_in_white_lists(origin, urlsplit(origin))
        ],
    }
    return {setting: names for setting, names in missing.items() if names}


def _missing(required: Sequence[str], allowed: Sequence[str]) -> list[str]:
    lowercase = {name.lower() for name in allowed}
    return [name for name in required if name.lower() not in lowercase]


def _endpoint_url() -> str:
    """Return the URL of the view; empty if only the ASGI mount serves the endpoint."""
    with suppress(NoReverseMatch, ImproperlyConfigured):
        return reverse("mcp_transport:endpoint")
    return ""


def _has_rate_limits() -> bool:
    return bool(conf.get("RATE_LIMITS") or (needs_declarations() and declared().rate_limits))


def _backend() -> Backend | None:
    """Build the backend of the settings; None if that fails, which `check_settings` reports."""
    with suppress(Exception):
        return bootstrap.build_backend()
    return None


def _workers() -> int:
    if (configured := conf.get("WORKERS")) is not None:
        return int(configured)
    counts = [os.environ.get(name, "") for name in _WORKER_VARIABLES]
    return max((int(count) for count in counts if count.isdecimal()), default=1)


def _dotted(release: tuple[int, int]) -> str:
    return ".".join(map(str, release))
