"""The settings: one dict, `MCP_TRANSPORT`, with the table of its keys.

Settings are never read at import time, so `override_settings` works.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import ENVIRONMENT_VARIABLE, settings

from mcp_transport import validation
from mcp_transport.domain.policy import Policy
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["SETTINGS", "Fault", "Setting", "faults", "get", "policy", "problems"]

_POLICY: Final = Policy()

# The minimum similarity of a name to MCP_TRANSPORT to be reported as a misspelling; lower if it contains MCP.
_MIN_SIMILARITY: Final = 0.9
_MIN_SIMILARITY_WITH_MCP: Final = 0.7


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the dict: its default, its type as an annotation, and its help text."""

    default: Any
    kind: Any
    help: str
    policy: str = field(default="", kw_only=True)
    """The field of `Policy` that it sets."""
    minimum: float | None = field(default=None, kw_only=True)
    fault: Callable[[Any], str] = field(default=lambda value: "", kw_only=True)
    """Returns what is wrong with a value of the right type, or an empty string."""
    check: str = field(default="mcp_transport.E002", kw_only=True)
    """The id of the system check that reports the fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in the settings, reported by the system check with this id."""

    setting: str
    message: str
    hint: str
    id: str


def _from_policy(
    member: str, kind: Any, help: str, minimum: float | None = None, fault: Callable[[Any], str] = lambda value: ""
) -> Setting:
    return Setting(getattr(_POLICY, member), kind, help, policy=member, minimum=minimum, fault=fault)


def _cache_fault(alias: str) -> str:
    return "" if alias in settings.CACHES else f"expected one of CACHES, {', '.join(settings.CACHES)}, got {alias!r}"


def _versions_fault(versions: Sequence[str]) -> str:
    is_valid = bool(versions) and set(versions) <= set(REVISIONS)
    return "" if is_valid else f"expected some of {', '.join(REVISIONS)}, got {versions!r}"


SETTINGS: Final[Mapping[str, Setting]] = {
    "NAME": Setting("django", str, "The server's name, as clients show it."),
    "VERSION": Setting("", str, "The server's version, as clients show it."),
    "TITLE": Setting(None, str | None, "A display name."),
    "INSTRUCTIONS": Setting(None, str | None, "Instructions for the model on how to use the server."),
    "WEBSITE_URL": Setting(None, str | None, "The URL of a page about the server."),
    "CACHE_HINTS": Setting(
        {},
        dict,
        "How long clients of 2026-07-28 may cache results: a method to `(milliseconds, 'public' or 'private')`.",
        fault=validation.cache_hints_fault,
    ),
    "SERVER": Setting(
        None,
        str | None,
        "Dotted path of an SDK `MCPServer`, a low-level `Server` or a FastMCP 4 server to serve instead.",
    ),
    "FAST_PATH": Setting(
        True,
        bool,
        "Whether shortcuts around the SDK are taken. Turn them off to compare when a new SDK release or a middleware "
        "behaves in an unexpected way: the results are the same, but a call takes 3 to 4 times the processor time.",
    ),
    "BACKEND": Setting(
        "auto", str, "Where sessions are stored: `memory`, `cache`, `redis`, a dotted path, or `auto`."
    ),
    "REDIS_CLUSTER": Setting(
        None, bool | None, "Whether the cache's Redis is a Cluster; None reads it from the cache's options."
    ),
    "CACHE": Setting(
        "default",
        str,
        "The alias of the Django cache that the `cache` and `redis` backends use.",
        fault=_cache_fault,
        check="mcp_transport.E004",
    ),
    "WORKERS": Setting(
        None, int | None, "The number of processes that serve the endpoint; used by system checks only.", minimum=1
    ),
    "MAX_CONCURRENT_CALLS": _from_policy(
        "max_concurrent_calls", int, "How many calls run in a process at a time; others wait.", 1
    ),
    "MAX_CONCURRENT_CALLS_PER_CALLER": _from_policy(
        "max_concurrent_calls_per_caller", int, "How many calls of one caller run in a process at a time.", 1
    ),
    "MAX_QUEUED_CALLS": _from_policy(
        "max_queued_calls", int, "How many calls wait in a process, for each limit; others are refused.", 0
    ),
    "MAX_QUEUED_CALLS_PER_CALLER": _from_policy(
        "max_queued_calls_per_caller", int, "How many calls of one caller wait in a process, for each limit.", 0
    ),
    "QUEUE_TIMEOUT_SECONDS": _from_policy(
        "queue_timeout", float, "How long a call waits until it may run, before it is refused.", 0
    ),
    "TOOL_THREADS": _from_policy("tool_threads", int, "How many synchronous tools run concurrently in a process.", 1),
    "TOOL_TIMEOUT_SECONDS": _from_policy(
        "tool_timeout",
        float | None,
        "How long a tool, resource or prompt may run, without the time in which it waits for its client; None sets "
        "no limit.",
        0.001,
    ),
    "CALL_CONTEXT": Setting(
        None,
        str | None,
        "Dotted path of a function of the `HttpRequest` and the `Principal` that returns a context manager, entered "
        "around each call.",
    ),
    "AUTHENTICATORS": Setting(
        ("user", None),
        Sequence,
        "The authenticators: names, dotted paths or dicts with BACKEND and OPTIONS; None admits anonymous callers.",
    ),
    "RESOURCE_URL": Setting(
        "",
        str,
        "The URL of the endpoint as clients know it, to which tokens are bound.",
        fault=validation.url_fault,
        check="mcp_transport.E005",
    ),
    "AUTHORIZATION_SERVERS": Setting(
        None, list | None, "The issuers published to clients; None uses those of the authenticators."
    ),
    "REQUIRED_SCOPES": Setting((), list, "The scopes that every request needs.", fault=validation.scopes_fault),
    "IMPLIED_SCOPES": Setting(
        {},
        dict,
        "Broad scopes, each with the list of scopes that it includes.",
        fault=validation.implied_scopes_fault,
    ),
    "AUDIT_ARGUMENTS": Setting(False, bool, "Whether the signal `tool_called` contains the arguments of tools."),
    "LOG_EXCEPTION_TEXTS": Setting(
        None,
        bool | None,
        "Whether logs contain the texts of tools' exceptions, which may quote arguments; None means DEBUG.",
    ),
    "PROTOCOL_VERSIONS": _from_policy("versions", list, "The protocol revisions to serve.", fault=_versions_fault),
    "ALLOWED_ORIGINS": _from_policy(
        "allowed_origins",
        list,
        "Origins of web pages that may call the endpoint, besides the server's own.",
        fault=validation.origins_fault,
    ),
    "TRUSTED_PROXIES": _from_policy(
        "trusted_proxies",
        list,
        "The proxies whose X-Forwarded-For names the client: addresses, networks, or 'unix' for a Unix socket.",
        fault=validation.proxies_fault,
    ),
    "SESSION_TTL_SECONDS": _from_policy("session_ttl", float, "How long an idle session is kept.", 1),
    "SESSION_MAX_AGE_SECONDS": _from_policy("session_max_age", float, "The maximum lifetime of a session.", 1),
    "MAX_SESSIONS_PER_PRINCIPAL": _from_policy(
        "max_sessions_per_principal", int, "How many sessions a caller may have; the one idle longest is evicted.", 1
    ),
    "SESSION_HISTORY": _from_policy(
        "session_history", int, "How many of a session's last requests are kept for operators; 0 keeps none.", 0
    ),
    "MAX_REQUEST_BYTES": _from_policy("max_request_bytes", int, "The maximum size of a request body.", 1),
    "MAX_REQUEST_VALUES": _from_policy(
        "max_request_values", int, "The maximum number of JSON values in a request body, at any depth.", 100
    ),
    "MAX_RESULT_BYTES": _from_policy(
        "max_result_bytes",
        int,
        "The maximum size of a call's result, and of each other message that it sends.",
        1024,
        validation.result_bytes_fault,
    ),
    "MAX_BYTES_IN_FLIGHT": _from_policy(
        "max_bytes_in_flight",
        int,
        "How much memory request bodies and the values decoded from them may use in a process, from arrival until "
        "their calls end.",
        1,
    ),
    "MAX_BYTES_IN_FLIGHT_PER_CALLER": _from_policy(
        "max_bytes_in_flight_per_caller", int, "How much of this memory one caller may use.", 1
    ),
    "MAX_BATCH": _from_policy("max_batch", int, "The maximum number of messages in a batch (2025-03-26).", 1),
    "BODY_TIMEOUT_SECONDS": _from_policy(
        "body_timeout", float, "How long a body may take to arrive (ASGI mount; not daphne).", 0.001
    ),
    "SSE_AFTER_SECONDS": _from_policy(
        "sse_after", float, "How long a call without messages may run before its response becomes a stream.", 0
    ),
    "KEEPALIVE_SECONDS": _from_policy("keepalive", float, "The maximum silence on a stream.", 0.001),
    "RETRY_MILLISECONDS": _from_policy("retry_ms", int, "How long clients wait before they reconnect.", 0),
    "CLIENT_REPLY_TIMEOUT_SECONDS": _from_policy(
        "client_reply_timeout", float, "How long a tool waits for the client's reply to a request.", 0.001
    ),
    "WRITE_TIMEOUT_SECONDS": _from_policy(
        "write_timeout",
        float,
        "How long a client may take to accept a chunk of a stream (ASGI mount).",
        0.001,
    ),
    "STREAM_MAX_EVENTS": _from_policy("stream_max_events", int, "How many events of a stream can be replayed.", 1),
    "STREAM_MAX_BYTES": _from_policy("stream_max_bytes", int, "How many bytes of a stream can be replayed.", 1),
    "STREAM_KEEP_SECONDS": _from_policy(
        "stream_keep",
        float,
        "How long a finished stream can be replayed, and a response is kept for its `Idempotency-Key`.",
        0,
    ),
    "STREAM_QUEUE": _from_policy("stream_queue", int, "How many events are queued in memory for a slow client.", 1),
    "LEASE_SECONDS": _from_policy("lease", float, "How long a silent node counts as alive (`redis`).", 0.5),
    "DRAIN_SECONDS": _from_policy("drain", float, "How long calls may continue after SIGTERM.", 0),
    "REHYDRATE": _from_policy(
        "rehydrate", bool, "Whether a session is rebuilt from its id when the store has lost it (`redis`)."
    ),
}


def get(name: str) -> Any:
    """Return a setting's value, or its default."""
    return _configured().get(name, SETTINGS[name].default)


def policy() -> Policy:
    """Build the engine's policy from MCP_TRANSPORT and from Django's settings for hosts and proxies."""
    values = {setting.policy: get(name) for name, setting in SETTINGS.items() if setting.policy}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    hosts = settings.ALLOWED_HOSTS or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    return Policy(
        allowed_hosts=tuple(hosts),
        forwarded_host=bool(settings.USE_X_FORWARDED_HOST),
        forwarded_port=bool(settings.USE_X_FORWARDED_PORT),
        forwarded_scheme=_forwarded_scheme(settings.SECURE_PROXY_SSL_HEADER),
        secure_host=_secure_host(get("RESOURCE_URL")),
        **{**values, **lists},
    )


def _forwarded_scheme(setting: Any) -> tuple[str, str] | None:
    if not setting:
        return None
    variable, secure = setting  # Django reports other values than pairs
    return str(variable).removeprefix("HTTP_").replace("_", "-").lower(), str(secure)


def _secure_host(url: Any) -> str:
    """Return the host of an https URL in the form of a Host header, without the port; "" for other values."""
    if not isinstance(url, str) or validation.url_fault(url):
        return ""
    parsed = urlsplit(url)
    host = parsed.hostname or ""
    return (f"[{host}]" if ":" in host else host.removesuffix(".")) if parsed.scheme == "https" else ""


def problems() -> dict[str, str]:
    """Return what is wrong with the values of settings, by setting."""
    configured = getattr(settings, "MCP_TRANSPORT", {})
    if not isinstance(configured, Mapping):
        return {"": f"MCP_TRANSPORT must be a dict, got {type(configured).__name__}"}
    return {name: problem for name, setting in SETTINGS.items() if (problem := _problem(setting, get(name)))}


def faults() -> list[Fault]:
    """Return the errors in the settings that can be detected without building anything from them."""
    errors = [
        Fault(
            name,
            f"{name} is set, but MCP_TRANSPORT is not.",
            f"Rename {name} to MCP_TRANSPORT, or set MCP_TRANSPORT = {{}} if it belongs to another package.",
            "mcp_transport.E001",
        )
        for name in _similar_names()
    ]
    for name in _configured():
        if name not in SETTINGS:
            close = difflib.get_close_matches(str(name).upper(), SETTINGS, 1)
            hint = f"Did you mean {close[0]!r}?" if close else "See docs/reference/settings.md for all settings."
            errors.append(Fault(str(name), f"MCP_TRANSPORT[{name!r}] is not a setting.", hint, "mcp_transport.E001"))
    for name, problem in problems().items():
        place = f"MCP_TRANSPORT[{name!r}]" if name else "MCP_TRANSPORT"
        check = "mcp_transport.E002" if not name or _type_fault(SETTINGS[name], get(name)) else SETTINGS[name].check
        errors.append(Fault(name, f"{place}: {problem}.", f"Correct {place} in your settings.", check))
    return errors


def _similar_names() -> list[str]:
    """Return the names of settings that may be misspellings of MCP_TRANSPORT."""
    if hasattr(settings, "MCP_TRANSPORT"):
        return []
    # Django ignores lower-case names; the settings module has them.
    module = vars(sys.modules.get(os.environ.get(ENVIRONMENT_VARIABLE, ""), object))
    values = {name: value for name, value in module.items() if not name.isupper() and _is_similar(name)}
    # Only similar names are read, since reading a deprecated setting causes a warning.
    values |= {name: getattr(settings, name) for name in dir(settings) if name.isupper() and _is_similar(name)}
    return sorted(name for name, value in values.items() if value and isinstance(value, Mapping))


def _is_similar(name: str) -> bool:
    matcher = difflib.SequenceMatcher(None, name.upper(), "MCP_TRANSPORT")
    minimum = _MIN_SIMILARITY_WITH_MCP if "MCP" in name.upper() else _MIN_SIMILARITY
    # The first two are fast upper bounds of the third.
    return all(ratio() >= minimum for ratio in (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio))


def _configured() -> Mapping[str, Any]:
    configured = getattr(settings, "MCP_TRANSPORT", {})
    return configured if isinstance(configured, Mapping) else {}  # faults() reports it, so no requests are served


def _problem(setting: Setting, value: Any) -> str:
    if fault := _type_fault(setting, value):
        return fault
    if setting.minimum is not None and value is not None and value < setting.minimum:
        return f"expected {setting.minimum:g} or more, got {value!r}"
    return setting.fault(value)


def _type_fault(setting: Setting, value: Any) -> str:
    # Lists of dicts contain options, which may be secret.
    return validation.type_fault(setting.kind, value, is_secret=setting.kind is Sequence)
