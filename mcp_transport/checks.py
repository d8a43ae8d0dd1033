"""System checks. Each id is stable, each hint names the setting to change; `docs/reference/checks.md` lists them."""

from __future__ import annotations

import difflib
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

from mcp_transport import bootstrap, conf
from mcp_transport.auth.configured import build_gate
from mcp_transport.call_context import project_context
from mcp_transport.kernel import lowlevel
from mcp_transport.protocol.origin import EXPOSED_HEADERS, METHODS, REQUEST_HEADERS

__all__ = ["CHECKS"]

TRIED_SDK: Final = ((2, 3), (2, 4))
"""The `mcp` releases this package was tried with: from the first, below the second."""

_LOOPBACK: Final = {"localhost", ".localhost", "127.0.0.1", "[::1]", "testserver"}
_WORKER_VARIABLES: Final = ("WEB_CONCURRENCY", "GRANIAN_WORKERS")


def check_settings(**kwargs: Any) -> Iterator[CheckMessage]:
    """Refuse unknown keys and values of the wrong type."""
    configured = getattr(settings, "MCP_TRANSPORT", {})
    for name in configured if isinstance(configured, dict) else ():
        if name not in conf.SETTINGS:
            close = difflib.get_close_matches(str(name).upper(), conf.SETTINGS, 1)
            hint = f"Did you mean {close[0]!r}?" if close else "docs/reference/settings.md lists the known ones."
            yield Error(f"MCP_TRANSPORT[{name!r}] is no setting.", hint=hint, id="mcp_transport.E001")
    for name, problem in conf.problems().items():
        place = f"MCP_TRANSPORT[{name!r}]" if name else "MCP_TRANSPORT"
        yield Error(f"{place}: {problem}.", hint=f"Correct {place} in your settings.", id="mcp_transport.E002")


def check_parts(**kwargs: Any) -> Iterator[CheckMessage]:
    """Find out now, not at the first request, that the server or the backend cannot be built."""
    if conf.problems():
        return
    if conf.get("CACHE") not in settings.CACHES:
        yield Error(
            f"MCP_TRANSPORT['CACHE'] names {conf.get('CACHE')!r}, which is no cache.",
            hint=f"Name one of CACHES: {', '.join(settings.CACHES)}.",
            id="mcp_transport.E004",
        )
        return
    parts: dict[str, Callable[[], object]] = {
        "SERVER": _lowlevel_server,
        "BACKEND": bootstrap.build_backend,
        "AUTHENTICATORS": build_gate,
        "CALL_CONTEXT": project_context,
    }
    for name, build in parts.items():
        try:
            build()
        except (ImproperlyConfigured, TypeError, ValueError) as error:
            hint = f"Correct MCP_TRANSPORT[{name!r}]."
            yield Error(f"MCP_TRANSPORT[{name!r}] cannot be used: {error}", hint=hint, id="mcp_transport.E003")


def check_workers(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of a backend that is one process's own while several serve."""
    if _is_unusable():
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
    if _is_unusable() or bootstrap.backend_name() != "cache":
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
    if conf.problems():
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
    """Refuse a RESOURCE_URL that is none; warn where clients cannot find which authorization server to ask."""
    if conf.problems():
        return
    url = conf.get("RESOURCE_URL")
    if url and (fault := _url_fault(url)):
        yield Error(
            f"MCP_TRANSPORT['RESOURCE_URL'] = {url!r} {fault}.",
            hint="Write the endpoint's URL as clients know it, like https://api.example.com/mcp.",
            id="mcp_transport.E005",
        )
        return
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


def _url_fault(url: str) -> str:
    """Say what is wrong with a resource's URL, if anything (RFC 8707, 2)."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "is no absolute URL"
    if parts.query or "#" in url:
        return "has a query or a fragment"
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return "is not https"
    return ""


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
    from mcp_transport.server import declared

    if conf.get("SERVER") and (declared.tools or declared.resources or declared.prompts):
        yield Warning(
            "Tools, resources or prompts are declared with mcp_transport's decorators, but MCP_TRANSPORT['SERVER'] "
            "names another server, and that one is served.",
            hint="Move them to that server, or take MCP_TRANSPORT['SERVER'] out.",
            id="mcp_transport.W008",
        )


def check_transactions(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn of asynchronous tools where ATOMIC_REQUESTS promises a transaction."""
    from mcp_transport.server import declared

    aliases = [alias for alias, options in connections.settings.items() if options["ATOMIC_REQUESTS"]]
    tools = [name for name, tool in declared.tools.items() if tool.atomic and _is_asynchronous(tool.fn)]
    if aliases and tools:
        yield Warning(
            f"ATOMIC_REQUESTS of the database {aliases[0]!r} has no effect on asynchronous tools, as Django has no "
            f"asynchronous transactions: {', '.join(tools)}.",
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
    if conf.problems() or not (lacking := _lacking_in_cors(path)):
        return
    told = "; ".join(f"{setting} lacks {', '.join(names)}" for setting, names in lacking.items())
    yield Warning(
        f"django-cors-headers answers for {path}, and pages of other origins cannot use it: {told}.",
        hint=f'Take the endpoint out, CORS_URLS_REGEX = r"^(?!{path}|/\\.well-known/)", since it answers by itself, '
        "or add these; docs/howto/browser-clients.md tells more.",
        id="mcp_transport.W013",
    )


CHECKS: Final[tuple[Callable[..., Iterator[CheckMessage]], ...]] = (
    check_settings,
    check_parts,
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


def _is_unusable() -> bool:
    """Tell whether the settings are so wrong that other checks cannot read them."""
    return bool(conf.problems()) or conf.get("CACHE") not in settings.CACHES


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


def _lowlevel_server() -> object:
    return lowlevel(bootstrap.served_server())


def _workers() -> int:
    if (configured := conf.get("WORKERS")) is not None:
        return int(configured)
    counts = [os.environ.get(name, "") for name in _WORKER_VARIABLES]
    return max((int(count) for count in counts if count.isdecimal()), default=1)


def _dotted(release: tuple[int, int]) -> str:
    return ".".join(map(str, release))
