"""Builds the process's one endpoint from the settings, at its first use."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from mcp_transport import conf
from mcp_transport.conf import Fault
from mcp_transport.discovery import declared, discover
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.clock import Clock, SteadyClock, SystemClock
from mcp_transport.protocol.errors import INTERNAL_ERROR, error_body
from mcp_transport.protocol.http import Reply
from mcp_transport.signing_keys import derived_keys

if TYPE_CHECKING:  # commands that serve nobody must not pay for the SDK, which most of these import
    from mcp_transport.auth.authentication import Authentication
    from mcp_transport.backends.base import Backend
    from mcp_transport.domain.access_rule import AccessRule
    from mcp_transport.engine.endpoint import Endpoint

__all__ = [
    "MISCONFIGURED_REPLY",
    "Misconfigured",
    "authentication",
    "backend_name",
    "build_backend",
    "configured_access",
    "configured_server",
    "derived_keys",
    "endpoint",
    "faults",
    "private_endpoint",
    "redis_acl_rule",
]

logger = logging.getLogger(__name__)

MISCONFIGURED_REPLY: Final = Reply(
    status=500,
    headers=(("Content-Type", "application/json"), ("Cache-Control", "no-store")),
    body=json.dumps(error_body(INTERNAL_ERROR, "Internal server error")).encode(),
)
"""The answer to each request while the settings cannot be used; the log says why."""

_lock = threading.Lock()
_endpoint: Endpoint | None = None
_authentication: Authentication | None = None


class Misconfigured(ImproperlyConfigured):
    """Settings in which `manage.py check` finds errors, so that nothing is served with them."""


def endpoint() -> Endpoint:
    """Return the endpoint; clients of stores are made later still, by the first request.

    Raises:
        Misconfigured: the settings cannot be used; the log was told so once.
    """
    global _endpoint
    with _lock:
        if _endpoint is None:
            _refuse_faults()
            _endpoint = _built_endpoint()
        return _endpoint


def authentication() -> Authentication:
    """Return the authentication that the endpoint's requests pass. Raises: Misconfigured."""
    with _lock:
        _refuse_faults()
        return _built_authentication()


def faults() -> list[Fault]:
    """Return the errors of the settings: `manage.py check` reports them, and requests are refused because of them.

    Raises: whatever an app's `mcp.py` raises.
    """
    if found := conf.faults():
        return found
    discover()  # what is wrong there is the fault of no setting
    return [fault for name, build in _PARTS.items() if (fault := _fault(name, build))]


def _fault(name: str, build: Callable[[], object]) -> Fault | None:
    """Find out whether a part of the endpoint can be built."""
    try:
        build()
    except Exception as error:
        place = f"MCP_TRANSPORT[{name!r}]"
        message = f"{place} cannot be used: {_reason(error)}"
        return Fault(name, message, f"Correct {place}.", "mcp_transport.E003")
    return None


def _reason(error: Exception) -> str:
    """Return an exception's text; what is not said to operators has its kind and place, too."""
    if isinstance(error, ImproperlyConfigured):
        return str(error)
    [*_, last] = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"


def _refuse_faults() -> None:
    if reason := _settings_error():
        raise Misconfigured(reason)


@cache
def _settings_error() -> str:
    """Return what is wrong with the settings, after it was logged; nothing if they can be used."""
    reason = " ".join(f"{fault.message} {fault.hint}" for fault in faults())
    reason = " ".join(reason.split())  # one line, whatever an exception says
    if reason:
        logger.error("MCP requests are refused, because of errors in the settings: %s", reason)
    return reason


def _built_endpoint() -> Endpoint:
    from mcp_transport.call_context import call_contexts, project_context
    from mcp_transport.engine.endpoint import Endpoint
    from mcp_transport.engine.observer import Observer
    from mcp_transport.kernel import Kernel
    from mcp_transport.process.startup import prepare_process
    from mcp_transport.signals import SignalAuditor

    guard, clock = _built_authentication(), SteadyClock() if backend_name() == "memory" else SystemClock()
    return Endpoint(
        Kernel(configured_server(), access=configured_access()),
        build_backend(clock),
        conf.policy(),
        keys=derived_keys("replies"),
        session_keys=derived_keys("session-id"),
        authenticate=guard.authenticate,
        principal_without_request=guard.principal_without_request,
        step_up=guard.step_up,
        observer=Observer(SignalAuditor()),
        call_context=call_contexts(project_context()),
        on_start=prepare_process,
        clock=clock,
    )


def _built_authentication() -> Authentication:
    from mcp_transport.auth.factory import build_authentication
    from mcp_transport.call_context import call_contexts, project_context

    global _authentication
    if _authentication is None:
        _authentication = build_authentication(call_contexts(project_context()))
    return _authentication


def _build_authentication() -> Authentication:
    from mcp_transport.auth.factory import build_authentication

    return build_authentication()


def private_endpoint(*, restricted: bool = False) -> Endpoint:
    """Build an endpoint for this process alone, which answers to the host `localhost`; commands call tools by it.

    A `restricted` one lets a user do what they may, any other one everything.
    """
    from mcp_transport.auth.authentication import Authentication
    from mcp_transport.auth.resource import Resource
    from mcp_transport.auth.user import UserAuthenticator
    from mcp_transport.backends.memory import MemoryBackend
    from mcp_transport.call_context import call_contexts
    from mcp_transport.engine.endpoint import Endpoint
    from mcp_transport.kernel import Kernel

    policy = Policy(allowed_hosts=("localhost",))
    backend = MemoryBackend(policy, SystemClock().now)
    # A kernel that announces nothing leaves the listeners of the live endpoint alone.
    return Endpoint(
        Kernel(configured_server(), access=configured_access() if restricted else {}, broadcasts=False),
        backend,
        policy,
        keys=derived_keys("replies"),
        authenticate=Authentication([UserAuthenticator()], is_open=True, resource=Resource()).authenticate,
        call_context=call_contexts(),
    )


def configured_server() -> Any:
    """Return the server the settings name, or the project's own, made of every app's `mcp.py`.

    Raises:
        ImproperlyConfigured: SERVER cannot be imported.
    """
    discover()
    path = conf.get("SERVER")
    if path is None:
        from mcp_transport.server import build_server

        return build_server(derived_keys("request-state"))
    try:
        return import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"MCP_TRANSPORT['SERVER'] = {path!r} cannot be imported: {error}") from error


def configured_access() -> Mapping[tuple[str, str], AccessRule]:
    """Return the rules of what the apps' `mcp.py` declare; another server has its own."""
    if conf.get("SERVER") is not None:
        return {}
    return declared().access


def backend_name() -> str:
    """Return the backend's name or dotted path; `auto` becomes what the kind of cache can do."""
    name: str = conf.get("BACKEND")
    if name != "auto":
        return name
    kind = caches.settings[conf.get("CACHE")]["BACKEND"]
    if kind.endswith(("LocMemCache", "DummyCache")):
        return "memory"
    return "redis" if _is_redis() else "cache"


def _is_redis() -> bool:
    """Tell whether the cache is Redis, and the package to reach it as such is installed."""
    try:
        from mcp_transport.backends.redis.connection import is_redis
    except ImportError:
        return False
    return is_redis(caches.settings[conf.get("CACHE")])


def _require_redis() -> None:
    if not _is_redis():
        raise ImproperlyConfigured(
            f"BACKEND 'redis' needs a cache that is Redis, but CACHES[{conf.get('CACHE')!r}] is not, "
            "or redis-py is not installed: pip install 'django-mcp-transport[redis]'"
        )


def build_backend(clock: Clock | None = None) -> Backend:
    """Build the session backend, which asks the `clock` for the time, if not Redis.

    Raises:
        ImproperlyConfigured: BACKEND is neither known nor a dotted path to a `Backend`.
    """
    from mcp_transport.backends.base import Backend as BaseBackend
    from mcp_transport.backends.memory import MemoryBackend

    name, policy, now = backend_name(), conf.policy(), (clock or SystemClock()).now
    if name == "memory":
        return MemoryBackend(policy, now)
    if name == "cache":
        from mcp_transport.backends.cache import CacheBackend

        return CacheBackend(policy, now, conf.get("CACHE"))
    if name == "redis":
        _require_redis()
        from mcp_transport.backends.redis import RedisBackend

        return RedisBackend(policy, caches.settings[conf.get("CACHE")], cluster=conf.get("REDIS_CLUSTER"))
    try:
        backend: Backend = import_string(name)(policy, now)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"MCP_TRANSPORT['BACKEND'] = {name!r} is neither auto, memory, cache or redis nor a class: {error}"
        ) from error
    if not isinstance(backend, BaseBackend):
        raise ImproperlyConfigured(
            f"MCP_TRANSPORT['BACKEND'] = {name!r} is no subclass of {BaseBackend.__module__}.Backend"
        )
    return backend


def redis_acl_rule(user: str) -> str:
    """Return the command that gives a user of Redis the rights that the backend needs.

    Raises:
        ImproperlyConfigured: the backend is not `redis`.
    """
    if backend_name() != "redis":
        raise ImproperlyConfigured(f"The backend is {backend_name()!r}, not redis: it needs no rights there.")
    _require_redis()
    from mcp_transport.backends.redis.acl import acl_rule
    from mcp_transport.backends.redis.connection import is_cluster, key_prefix

    cache = caches.settings[conf.get("CACHE")]
    return acl_rule(key_prefix(cache), cluster=is_cluster(cache, conf.get("REDIS_CLUSTER")), user=user)


def _lowlevel_server() -> object:
    from mcp_transport.kernel import lowlevel

    return lowlevel(configured_server())


def _project_context() -> object:
    from mcp_transport.call_context import project_context

    return project_context()


_PARTS: Final[Mapping[str, Callable[[], object]]] = {
    "SERVER": _lowlevel_server,
    "BACKEND": build_backend,
    "AUTHENTICATORS": _build_authentication,
    "CALL_CONTEXT": _project_context,
}
"""What the settings name, by the setting that names it."""


_READ: Final = frozenset(
    {
        "MCP_TRANSPORT",
        "CACHES",
        "SECRET_KEY",
        "SECRET_KEY_FALLBACKS",
        "ALLOWED_HOSTS",
        "DEBUG",
        "USE_X_FORWARDED_HOST",
        "USE_X_FORWARDED_PORT",
        "SECURE_PROXY_SSL_HEADER",
    }
)
"""The settings that the endpoint is built from."""


def _forget(*, setting: str, **kwargs: Any) -> None:
    """Build anew after `override_settings`, as tests use it."""
    global _endpoint, _authentication
    if setting in _READ:
        _endpoint = _authentication = None
        _settings_error.cache_clear()


setting_changed.connect(_forget)
