"""Builds the one endpoint of a process from the settings, at first use."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from mcp_transport import conf
from mcp_transport.conf import Fault
from mcp_transport.discovery import declared, discover
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.clock import SteadyClock, SystemClock
from mcp_transport.protocol.errors import INTERNAL_ERROR, error_body
from mcp_transport.protocol.http import Reply
from mcp_transport.session_backend import backend_name, build_backend
from mcp_transport.signing_keys import derived_keys

if TYPE_CHECKING:  # most of these import the SDK, which would slow down commands that serve no requests
    from mcp_transport.auth.authentication import Authentication
    from mcp_transport.domain.access_rule import AccessRule
    from mcp_transport.engine.endpoint import Endpoint

__all__ = [
    "ERROR_REPLY",
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
]

logger = logging.getLogger(__name__)

ERROR_REPLY: Final = Reply(
    status=500,
    headers=(("Content-Type", "application/json"), ("Cache-Control", "no-store")),
    body=json.dumps(error_body(INTERNAL_ERROR, "Internal server error")).encode(),
)
"""The response to every request while the settings are invalid; the reason is logged."""

_lock = threading.Lock()
_endpoint: Endpoint | None = None
_authentication: Authentication | None = None


class Misconfigured(ImproperlyConfigured):
    """The settings have errors that `manage.py check` reports, so no requests are served."""


def endpoint() -> Endpoint:
    """Return the endpoint; its first request connects to the store.

    Raises:
        Misconfigured: the settings are invalid, which has been logged once.
    """
    global _endpoint
    with _lock:
        if _endpoint is None:
            _check_settings()
            _endpoint = _build_endpoint()
        return _endpoint


def authentication() -> Authentication:
    """Return the endpoint's authentication. Raises: Misconfigured."""
    with _lock:
        _check_settings()
        return _cached_authentication()


def faults() -> list[Fault]:
    """Return the errors in the settings: `manage.py check` reports them, and the endpoint refuses requests.

    Raises: any exception of an app's `mcp.py`.
    """
    if setting_faults := conf.faults():
        return setting_faults
    discover()  # before the builders, so that its exceptions are not taken for a fault of a setting
    return [fault for name, build in _BUILDERS.items() if (fault := _build_fault(name, build))]


def _build_fault(name: str, build: Callable[[], object]) -> Fault | None:
    """Build a part of the endpoint, and return the fault of its setting if that fails."""
    try:
        build()
    except Exception as error:
        place = f"MCP_TRANSPORT[{name!r}]"
        return Fault(name, f"{place} is invalid: {_reason(error)}", f"Correct {place}.", "mcp_transport.E003")
    return None


def _reason(error: Exception) -> str:
    """Return an exception's text; other exceptions than ImproperlyConfigured with type, file and line."""
    if isinstance(error, ImproperlyConfigured):
        return str(error)
    [*_, last] = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"


def _check_settings() -> None:
    if reason := _settings_error():
        raise Misconfigured(reason)


@cache
def _settings_error() -> str:
    """Return and log the errors in the settings; an empty string if they are valid."""
    reason = " ".join(f"{fault.message} {fault.hint}" for fault in faults())
    reason = " ".join(reason.split())  # one line, whatever the text of an exception is
    if reason:
        logger.error("MCP requests are refused because of errors in the settings: %s", reason)
    return reason


def _build_endpoint() -> Endpoint:
    from mcp_transport.batching import observe_batches
    from mcp_transport.call_context import SharedContexts, call_contexts, project_context
    from mcp_transport.engine.endpoint import Endpoint
    from mcp_transport.engine.observer import Observer
    from mcp_transport.kernel import Kernel
    from mcp_transport.log_redaction import shown_text
    from mcp_transport.rate_limits import build_rate_limits, build_throttle
    from mcp_transport.signals import SignalAuditor
    from mcp_transport.threads import thread_limiter

    authenticator, clock = _cached_authentication(), SteadyClock() if backend_name() == "memory" else SystemClock()
    kernel = Kernel(configured_server(), fast=conf.get("FAST_PATH"))
    if conf.policy().failure_payloads:
        kernel.show_exception_texts(shown_text)
    built = Endpoint(
        kernel,
        build_backend(clock),
        conf.policy(),
        keys=derived_keys("replies"),
        session_keys=derived_keys("session-id"),
        authenticate=authenticator.authenticate,
        access=configured_access(),
        principal_without_request=authenticator.principal_without_request,
        step_up=authenticator.resource.forbidden,
        observer=Observer(SignalAuditor()),
        call_context=call_contexts(project_context()),
        threads=thread_limiter,
        clock=clock,
        rate_limits=build_rate_limits(),
        throttle=build_throttle(),
        shared_contexts=SharedContexts(project_context()),
    )
    observe_batches(built.call_metrics.record_batch)
    return built


def _cached_authentication() -> Authentication:
    from mcp_transport.auth.factory import build_authentication
    from mcp_transport.call_context import call_contexts, project_context

    global _authentication
    if _authentication is None:
        _authentication = build_authentication(call_contexts(project_context()))
    return _authentication


def private_endpoint(*, restricted: bool = False) -> Endpoint:
    """Build an endpoint for the host `localhost` in this process, with which commands call tools.

    A `restricted` endpoint applies the declarations' access rules, an unrestricted one does not.
    """
    from mcp_transport.auth.authentication import Authentication
    from mcp_transport.auth.request_user import UserAuthenticator
    from mcp_transport.auth.resource import Resource
    from mcp_transport.backends.base import Backend
    from mcp_transport.backends.memory import MemoryBackend
    from mcp_transport.call_context import SharedContexts, call_contexts
    from mcp_transport.engine.endpoint import Endpoint
    from mcp_transport.kernel import Kernel

    policy = Policy(allowed_hosts=("localhost",), tool_timeout=None)
    # A kernel that announces nothing does not disturb the listeners of the live endpoint.
    return Endpoint(
        Kernel(configured_server(), fast=conf.get("FAST_PATH"), broadcasts=False),
        Backend.of(MemoryBackend(policy, SystemClock().now)),
        policy,
        keys=derived_keys("replies"),
        access=configured_access() if restricted else None,
        authenticate=Authentication([UserAuthenticator()], is_open=True, resource=Resource()).authenticate,
        call_context=call_contexts(),
        shared_contexts=SharedContexts(),
    )


def configured_server() -> Any:
    """Return the server named by SERVER, or the one built from every app's `mcp.py`.

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
    """Return the access rules of the apps' declarations; a server named by SERVER has none here."""
    return declared().access if conf.get("SERVER") is None else {}


def _lowlevel_server() -> object:
    from mcp_transport.kernel import lowlevel

    return lowlevel(configured_server())


def _builder(path: str, *arguments: object) -> Callable[[], object]:
    return lambda: import_string(path)(*arguments)


_BUILDERS: Final[Mapping[str, Callable[[], object]]] = {
    "SERVER": _lowlevel_server,
    "BACKEND": build_backend,
    "AUTHENTICATORS": _builder("mcp_transport.auth.factory.build_authentication"),
    "CALL_CONTEXT": _builder("mcp_transport.call_context.project_context"),
    "RATE_LIMITS": _builder("mcp_transport.rate_limits.build_rate_limits"),
    "THROTTLE_CLASSES": _builder("mcp_transport.rate_limits.build_throttle"),
    "PREWARM": _builder("mcp_transport.prewarm.prewarm_functions"),
}
"""The parts of the endpoint that settings name, by setting."""

_SETTINGS_READ: Final = frozenset(
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
"""The settings from which the endpoint is built."""


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: Any) -> None:
    """Rebuild the endpoint after `override_settings`."""
    global _endpoint, _authentication
    if setting in _SETTINGS_READ:
        _endpoint = _authentication = None
        _settings_error.cache_clear()
