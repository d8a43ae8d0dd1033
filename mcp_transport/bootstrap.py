"""Builds the process's one endpoint from the settings, at its first use."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from mcp_transport import conf
from mcp_transport.auth.configured import build_gate
from mcp_transport.auth.gate import Gate
from mcp_transport.auth.resource import Resource
from mcp_transport.auth.user import UserAuthenticator
from mcp_transport.backends.base import Backend
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.call_context import call_contexts, project_context
from mcp_transport.engine.clock import SystemClock
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.observer import Observer
from mcp_transport.kernel import Kernel, Rule
from mcp_transport.protocol.policy import Policy
from mcp_transport.signals import SignalAuditor

__all__ = [
    "backend_name",
    "build_backend",
    "derived_keys",
    "endpoint",
    "gate",
    "private_endpoint",
    "redis_acl_rule",
    "served_access",
    "served_server",
]

_lock = threading.Lock()
_endpoint: Endpoint | None = None
_gate: Gate | None = None


def endpoint() -> Endpoint:
    """Return the endpoint; clients of stores are made later still, by the first request."""
    global _endpoint
    with _lock:
        if _endpoint is None:
            guard = _built_gate()
            _endpoint = Endpoint(
                Kernel(served_server(), access=served_access()),
                build_backend(),
                conf.policy(),
                keys=derived_keys("replies"),
                session_keys=derived_keys("session-id"),
                authenticate=guard.authenticate,
                recall=guard.recall,
                step_up=guard.step_up,
                observer=Observer(SignalAuditor()),
                call_context=call_contexts(project_context()),
                owns_process=True,
            )
        return _endpoint


def gate() -> Gate:
    """Return the gate that the endpoint's requests pass."""
    with _lock:
        return _built_gate()


def _built_gate() -> Gate:
    global _gate
    if _gate is None:
        _gate = build_gate()
    return _gate


def private_endpoint(*, restricted: bool = False) -> Endpoint:
    """Build an endpoint for this process alone, which answers to the host `localhost`; commands call tools by it.

    A `restricted` one lets a user do what they may, any other one everything.
    """
    policy = Policy(allowed_hosts=("localhost",))
    backend = MemoryBackend(policy, SystemClock().now)
    # A kernel that announces nothing leaves the listeners of the live endpoint alone.
    return Endpoint(
        Kernel(served_server(), access=served_access() if restricted else {}, announces=False),
        backend,
        policy,
        keys=derived_keys("replies"),
        authenticate=Gate([UserAuthenticator()], is_open=True, resource=Resource()).authenticate,
        call_context=call_contexts(),
    )


def served_server() -> Any:
    """Return the server the settings name, or the project's own, made of every app's `mcp.py`.

    Raises:
        ImproperlyConfigured: SERVER cannot be imported.
    """
    path = conf.get("SERVER")
    if path is None:
        from mcp_transport.server import build_server

        return build_server(derived_keys("request-state"))
    try:
        return import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"MCP_TRANSPORT['SERVER'] = {path!r} cannot be imported: {error}") from error


def served_access() -> Mapping[tuple[str, str], Rule]:
    """Return the rules of what the apps' `mcp.py` declare; another server has its own."""
    if conf.get("SERVER") is not None:
        return {}
    from mcp_transport.server import declared

    return declared.access


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


def build_backend() -> Backend:
    """Build the session backend.

    Raises:
        ImproperlyConfigured: BACKEND is neither known nor a dotted path to a `Backend`.
    """
    name, policy, now = backend_name(), conf.policy(), SystemClock().now
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


def derived_keys(purpose: str) -> tuple[bytes, ...]:
    """Derive a ring of 32-byte keys from SECRET_KEY and SECRET_KEY_FALLBACKS, one ring a purpose."""
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    label = f"mcp_transport/{purpose}".encode()
    return tuple(hmac.new(_bytes(secret), label, hashlib.sha256).digest() for secret in dict.fromkeys(secrets))


def _bytes(secret: str | bytes) -> bytes:
    return secret if isinstance(secret, bytes) else secret.encode()


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
    global _endpoint, _gate
    if setting in _READ:
        _endpoint = _gate = None


setting_changed.connect(_forget)
