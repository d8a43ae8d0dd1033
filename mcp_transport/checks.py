"""System checks. Each id is stable, each hint names the setting to change; `docs/reference/checks.md` lists them."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.module_loading import import_string

from mcp_transport import bootstrap, conf
from mcp_transport.discovery import declared, needs_declarations

__all__ = ["CHECKS"]

TRIED_SDK: Final = ((2, 3), (2, 4))
"""The `mcp` releases this package was tried with: from the first, below the second."""

_LOOPBACK: Final = {"localhost", ".localhost", "127.0.0.1", "[::1]", "testserver"}
_BUFFERING: Final = {
    "django.middleware.gzip.GZipMiddleware": "compresses event streams, so that events arrive late or in lumps",
    "django.middleware.http.ConditionalGetMiddleware": "computes an ETag over answers that must not be cached",
    "django.middleware.cache.UpdateCacheMiddleware": "stores answers that must not be cached",
    "django.middleware.cache.FetchFromCacheMiddleware": "serves stored answers in place of live ones",
}
_WORKER_VARIABLES: Final = ("WEB_CONCURRENCY", "GRANIAN_WORKERS")


def check_settings(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report what requests are refused for: unknown settings, wrong values, parts that cannot be built."""
    for fault in bootstrap.faults() if needs_declarations() else conf.faults():
        yield Error(fault.message, hint=fault.hint, id=fault.id)


def check_workers(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of a backend that is one process's own while several serve."""
    if conf.faults():
        return
    count = _workers()
    if count > 1 and bootstrap.backend_name() in ("memory", "cache"):
        kept = "sessions" if bootstrap.backend_name() == "memory" else "streams"
        yield Warning(
            f"{count} workers are configured, but {kept} live in one process's memory: a client whose next request "
            "meets another worker is lost.",
            hint="Run one worker, or set MCP_TRANSPORT['BACKEND'] to a backend that shares them.",
            id="mcp_transport.W001",
        )


def check_middleware(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of middleware that breaks streams or takes the view off the event loop."""
    mount = "use `mcp_transport.asgi.mount`, which answers before any middleware"
    for path in settings.MIDDLEWARE:
        if path in _BUFFERING:
            yield Warning(
                f"{path} {_BUFFERING[path]}.",
                hint=f"Take it out of MIDDLEWARE, or {mount}.",
                id="mcp_transport.W002",
            )
        try:
            middleware = import_string(path)
        except ImportError:
            continue  # Django itself says so
        if not getattr(middleware, "async_capable", False):
            yield Warning(
                f"{path} is not async-capable: each request, and each open stream, then occupies a thread.",
                hint=f"Take it out of MIDDLEWARE, or {mount}.",
                id="mcp_transport.W003",
            )


def check_slash(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of an endpoint whose URL needs a trailing slash."""
    try:
        url = reverse("mcp_transport:endpoint")
    except (NoReverseMatch, ImproperlyConfigured):
        return  # served by the ASGI mount alone
    if url.endswith("/"):
        yield Warning(
            f"The endpoint answers at {url} only: APPEND_SLASH turns a POST to {url.rstrip('/')} into a GET.",
            hint='Write path("mcp", include("mcp_transport.urls")), without a slash: both forms are answered then.',
            id="mcp_transport.W004",
        )


def check_eviction(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of a cache that throws sessions away when it is full."""
    if conf.faults() or bootstrap.backend_name() != "cache":
        return
    alias, options = conf.get("CACHE"), settings.CACHES[conf.get("CACHE")]
    kind = options["BACKEND"].rsplit(".", 1)[-1]
    limit = options.get("OPTIONS", {}).get("MAX_ENTRIES", 300)
    if kind in ("LocMemCache", "DatabaseCache", "FileBasedCache") and limit < 10_000:
        yield Warning(
            f"The cache {alias!r} keeps {limit} entries and then throws some away, sessions among them.",
            hint=f"Set CACHES[{alias!r}]['OPTIONS']['MAX_ENTRIES'] to 10000 or more, or use another cache.",
            id="mcp_transport.W005",
        )
    elif "memcached" in options["BACKEND"].lower():
        yield Warning(
            f"The cache {alias!r} is memcached, which throws away what was unused longest when it is full.",
            hint="Give sessions a cache of their own: MCP_TRANSPORT['CACHE'].",
            id="mcp_transport.W005",
        )


def check_debug(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of DEBUG on a host that is not this machine."""
    public = sorted(set(settings.ALLOWED_HOSTS) - _LOOPBACK)
    if settings.DEBUG and public:
        yield Warning(
            f"DEBUG is on while ALLOWED_HOSTS names {', '.join(public)}: an error page would show settings and code.",
            hint="Set DEBUG = False.",
            id="mcp_transport.W006",
        )


def check_open_doors(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of a public host on which anybody may call tools."""
    if conf.faults():
        return
    public = sorted(set(settings.ALLOWED_HOSTS) - _LOOPBACK)
    if public and None in conf.get("AUTHENTICATORS"):
        yield Warning(
            f"ALLOWED_HOSTS names {', '.join(public)}, and MCP_TRANSPORT['AUTHENTICATORS'] lets in callers without "
            "credentials: anybody may call tools.",
            hint="Take None out of MCP_TRANSPORT['AUTHENTICATORS'] and name how callers prove who they are; "
            "docs/howto/authentication.md shows how. Silence this where everything is meant for everybody.",
            id="mcp_transport.W009",
        )


def check_resource(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn where clients cannot find which authorization server to ask."""
    if conf.faults() or not needs_declarations():
        return
    from mcp_transport.auth.configured import build_gate

    try:
        resource, _ = build_gate().resource, reverse("mcp_transport:endpoint")
    except (NoReverseMatch, ImproperlyConfigured):
        return  # said elsewhere, or served by the ASGI mount, which answers there by itself
    if resource.has_metadata and not any(map(_is_routed, resource.metadata_paths)):
        yield Warning(
            f"Nothing answers at {resource.metadata_paths[0]}, where clients look for their authorization server.",
            hint='Add path("", include("mcp_transport.well_known")) to the root URLconf.',
            id="mcp_transport.W010",
        )


def _is_routed(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


def check_sdk(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of an `mcp` release this package was not tried with."""
    version = importlib.metadata.version("mcp")
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    low, high = TRIED_SDK
    if not low <= release < high:
        yield Warning(
            f"The MCP SDK is {version}; this package was tried with {_dotted(low)} up to {_dotted(high)}.",
            hint=f'Install "mcp>={_dotted(low)},<{_dotted(high)}", or a newer django-mcp-transport.',
            id="mcp_transport.W007",
        )


def check_declarations(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of declarations that nobody serves."""
    if conf.faults() or not conf.get("SERVER") or not needs_declarations():
        return
    known = declared()
    if known.tools or known.resources or known.prompts:
        yield Warning(
            "Tools, resources or prompts are declared with mcp_transport's decorators, but MCP_TRANSPORT['SERVER'] "
            "names another server, and that one is served.",
            hint="Move them to that server, or take MCP_TRANSPORT['SERVER'] out.",
            id="mcp_transport.W008",
        )


CHECKS: Final[tuple[Callable[..., Iterator[CheckMessage]], ...]] = (
    check_settings,
    check_workers,
    check_middleware,
    check_slash,
    check_eviction,
    check_debug,
    check_open_doors,
    check_resource,
    check_sdk,
    check_declarations,
)


def _workers() -> int:
    if (configured := conf.get("WORKERS")) is not None:
        return int(configured)
    counts = [os.environ.get(name, "") for name in _WORKER_VARIABLES]
    return max((int(count) for count in counts if count.isdecimal()), default=1)


def _dotted(release: tuple[int, int]) -> str:
    return ".".join(map(str, release))
