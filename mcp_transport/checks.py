"""System checks. Each id is stable, each hint names the setting to change; `docs/reference/checks.md` lists them."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.http import HttpResponse
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils.module_loading import import_string

from mcp_transport import bootstrap, conf, static_files
from mcp_transport.discovery import declared, needs_declarations
from mcp_transport.protocol.origin import EXPOSED_HEADERS, METHODS, REQUEST_HEADERS

__all__ = ["CHECKS", "DEPLOY_CHECKS"]

TRIED_SDK: Final = ((2, 3), (2, 4))
"""The `mcp` releases this package was tried with: from the first, below the second."""

_LOOPBACK: Final = {"localhost", ".localhost", "127.0.0.1", "[::1]", "testserver"}
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
    """Warn of middleware that takes the view off the event loop."""
    mount = "use `mcp_transport.asgi.mount`, which answers before any middleware"
    for path in settings.MIDDLEWARE:
        try:
            middleware = import_string(path)
        except ImportError:
            continue  # Django itself says so
        if not getattr(middleware, "async_capable", False):
            yield Warning(
                f"{path} is not async-capable: each request then occupies a thread until its answer begins.",
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
    from mcp_transport.auth.factory import build_authentication

    try:
        resource, _ = build_authentication().resource, reverse("mcp_transport:endpoint")
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


def check_transactions(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of asynchronous tools where ATOMIC_REQUESTS promises a transaction."""
    if not needs_declarations():
        return
    if not any(options["ATOMIC_REQUESTS"] for options in connections.settings.values()):
        return  # most projects; the rest imports the SDK
    from mcp_transport.function_adapter import databases_with_atomic_requests

    asynchronous = {name: tool for name, tool in declared().tools.items() if _is_asynchronous(tool.fn)}
    tools = [name for name, tool in asynchronous.items() if tool.atomic and databases_with_atomic_requests(tool.fn)]
    if tools:
        yield Warning(
            "ATOMIC_REQUESTS has no effect on asynchronous tools, as Django has no asynchronous transactions: "
            f"{', '.join(tools)}.",
            hint="Write them as plain functions, or put what must hold together into a function that "
            "`sync_to_async` runs in `transaction.atomic()`, and declare them with @tool(atomic=False).",
            id="mcp_transport.W011",
        )


def check_persistent_connections(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of CONN_MAX_AGE under ASGI, where requests have threads of their own."""
    if not getattr(settings, "ASGI_APPLICATION", None):
        return
    for alias, options in connections.settings.items():
        if options["CONN_MAX_AGE"] != 0 and not options.get("OPTIONS", {}).get("pool"):
            yield Warning(
                f"CONN_MAX_AGE of the database {alias!r} is not 0: under ASGI each request and each call has a "
                "thread of its own, so that its connection is seldom used again.",
                hint='Set CONN_MAX_AGE = 0, or use the pool of the database: "OPTIONS": {"pool": True}.',
                id="mcp_transport.W012",
            )


def _is_asynchronous(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(inspect.unwrap(function))


def check_cors(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of django-cors-headers where it answers for the endpoint and does not know MCP's headers."""
    try:
        url = reverse("mcp_transport:endpoint")
    except (NoReverseMatch, ImproperlyConfigured):
        return  # served by the ASGI mount alone, which answers before any middleware
    path = "/" + url.removeprefix(get_script_prefix())
    if conf.faults() or not (lacking := _lacking_in_cors(path)):
        return
    told = "; ".join(f"{setting} lacks {', '.join(names)}" for setting, names in lacking.items())
    yield Warning(
        f"django-cors-headers answers for {path}, and pages of other origins cannot use it: {told}.",
        hint=f'Take the endpoint out, CORS_URLS_REGEX = r"^(?!{path}|/\\.well-known/)", since it answers by itself, '
        "or add these; docs/howto/browser-clients.md tells more.",
        id="mcp_transport.W013",
    )


def check_static_files(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of static files that nobody can serve."""
    if "django.contrib.staticfiles" not in settings.INSTALLED_APPS or static_files.are_served():
        return
    if not getattr(settings, "STATIC_ROOT", None):
        yield Warning(
            "STATIC_ROOT is not set: an ASGI server serves no static files, and nothing else can, so that the admin "
            "has no style.",
            hint="Set STATIC_ROOT, run collectstatic and have the web server serve it, or use WhiteNoise; "
            "docs/howto/deploy-with-daphne.md tells how, also while you develop.",
            id="mcp_transport.W014",
        )


DEPLOY_CHECKS: Final[tuple[Callable[..., Iterator[CheckMessage]], ...]] = (check_static_files,)
"""Those of `check --deploy` alone."""

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
    check_transactions,
    check_persistent_connections,
    check_cors,
)


def _lacking_in_cors(path: str) -> dict[str, list[str]]:
    """Return what pages need that django-cors-headers does not grant at a path, by its settings."""
    if not any("cors" in name.lower() and name.endswith("CorsMiddleware") for name in settings.MIDDLEWARE):
        return {}
    try:
        from corsheaders.conf import conf as cors
        from corsheaders.middleware import CorsMiddleware
    except ImportError:
        return {}
    if not re.match(cors.CORS_URLS_REGEX, path):
        return {}
    judge = CorsMiddleware(lambda request: HttpResponse())
    origins = [origin for origin in conf.get("ALLOWED_ORIGINS") if origin != "*" and not cors.CORS_ALLOW_ALL_ORIGINS]
    lacking = {
        "CORS_ALLOW_HEADERS": _missing(REQUEST_HEADERS, cors.CORS_ALLOW_HEADERS),
        "CORS_ALLOW_METHODS": _missing(METHODS, cors.CORS_ALLOW_METHODS),
        # Without any of its own it leaves the endpoint's.
        "CORS_EXPOSE_HEADERS": _missing(EXPOSED_HEADERS, cors.CORS_EXPOSE_HEADERS or EXPOSED_HEADERS),
        "CORS_ALLOWED_ORIGINS": [
            origin for origin in origins if not judge.origin_found_in_white_lists(origin, urlsplit(origin))
        ],
    }
    return {setting: names for setting, names in lacking.items() if names}


def _missing(wanted: Sequence[str], given: Sequence[str]) -> list[str]:
    known = {name.lower() for name in given}
    return [name for name in wanted if name.lower() not in known]


def _workers() -> int:
    if (configured := conf.get("WORKERS")) is not None:
        return int(configured)
    counts = [os.environ.get(name, "") for name in _WORKER_VARIABLES]
    return max((int(count) for count in counts if count.isdecimal()), default=1)


def _dotted(release: tuple[int, int]) -> str:
    return ".".join(map(str, release))
