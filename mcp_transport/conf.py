"""The settings: one dict, `MCP_TRANSPORT`; this table is its only description in code.

Nothing else in the package reads `django.conf`, and nothing is read at import, so `override_settings` works.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings

from mcp_transport.protocol.policy import Policy
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["SETTINGS", "Setting", "get", "policy", "problems"]

_POLICY: Final = Policy()


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the dict: its default, its type as an annotation, and what it decides."""

    default: Any
    kind: Any
    help: str
    policy: str = field(default="", kw_only=True)
    """The `Policy` member it becomes."""
    minimum: float | None = field(default=None, kw_only=True)


def _from_policy(member: str, kind: Any, help: str, minimum: float | None = None) -> Setting:
    return Setting(getattr(_POLICY, member), kind, help, policy=member, minimum=minimum)


SETTINGS: Final[Mapping[str, Setting]] = {
    "NAME": Setting("django", str, "The server's name, as clients show it."),
    "VERSION": Setting("", str, "The server's version, as clients show it."),
    "TITLE": Setting(None, str | None, "A name for people."),
    "INSTRUCTIONS": Setting(None, str | None, "What a model should know before it uses the tools."),
    "WEBSITE_URL": Setting(None, str | None, "Where people read about the server."),
    "CACHE_HINTS": Setting(
        {},
        dict,
        "How long clients of 2026-07-28 may keep lists: a method to `(milliseconds, 'public' or 'private')`.",
    ),
    "SERVER": Setting(
        None,
        str | None,
        "Dotted path of an SDK `MCPServer`, low-level `Server` or FastMCP 4 server to serve instead.",
    ),
    "BACKEND": Setting(
        "auto", str, "Where sessions live: `memory`, `cache`, `redis`, a dotted path, or `auto` by the kind of cache."
    ),
    "REDIS_CLUSTER": Setting(
        None, bool | None, "Is the Redis of the cache a Cluster? None finds out from the cache's own options."
    ),
    "CACHE": Setting("default", str, "The alias of the Django cache that the `cache` and `redis` backends use."),
    "WORKERS": Setting(
        None, int | None, "How many processes serve the endpoint; only system checks read it.", minimum=1
    ),
    "TOOL_THREADS": Setting(32, int, "How many synchronous tools run at a time in a process.", minimum=1),
    "CALL_CONTEXT": Setting(
        None,
        str | None,
        "Dotted path of a function of the `HttpRequest` and the `Principal` that returns a context manager, entered "
        "around each call.",
    ),
    "AUTHENTICATORS": Setting(
        ("user", None),
        Sequence,
        "How callers prove who they are: names, dotted paths or dicts of BACKEND and OPTIONS; None lets anybody in.",
    ),
    "RESOURCE_URL": Setting("", str, "The URL of the endpoint as clients know it, to which tokens are bound."),
    "AUTHORIZATION_SERVERS": Setting(
        None, list | None, "The issuers that clients are sent to; None asks the authenticators."
    ),
    "REQUIRED_SCOPES": Setting((), list, "The scopes that every request needs."),
    "IMPLIED_SCOPES": Setting({}, dict, "Broader scopes, and the list of those that each of them covers."),
    "AUDIT_ARGUMENTS": Setting(False, bool, "Shall the signal `tool_called` carry what tools are called with?"),
    "LOG_EXCEPTION_TEXTS": Setting(
        None, bool | None, "Shall logs quote what tools raise, which may hold arguments? None: while DEBUG is on."
    ),
    "PROTOCOL_VERSIONS": _from_policy("versions", list, "The protocol revisions to serve."),
    "ALLOWED_ORIGINS": _from_policy(
        "allowed_origins", list, "Origins of web pages that may call, besides the server's own."
    ),
    "SESSION_TTL_SECONDS": _from_policy("session_ttl", float, "How long an unused session lives.", 1),
    "SESSION_MAX_AGE_SECONDS": _from_policy("session_max_age", float, "How long any session lives.", 1),
    "MAX_SESSIONS_PER_PRINCIPAL": _from_policy(
        "max_sessions_per_principal", int, "How many sessions a caller may have; the idlest one makes room.", 1
    ),
    "SESSION_HISTORY": _from_policy(
        "session_history", int, "How many of a session's last requests are kept for operators; 0 keeps none.", 0
    ),
    "MAX_REQUEST_BYTES": _from_policy("max_request_bytes", int, "The largest body of a request.", 1),
    "MAX_BATCH": _from_policy("max_batch", int, "The most messages in a batch (2025-03-26).", 1),
    "BODY_TIMEOUT_SECONDS": _from_policy(
        "body_timeout", float, "How long a body may take to arrive (ASGI mount).", 0.001
    ),
    "SSE_AFTER_SECONDS": _from_policy(
        "sse_after", float, "How long a silent call may take before its answer becomes a stream.", 0
    ),
    "KEEPALIVE_SECONDS": _from_policy("keepalive", float, "The longest silence on a stream.", 0.001),
    "RETRY_MILLISECONDS": _from_policy("retry_ms", int, "When a client shall come back to a closed stream.", 0),
    "CLIENT_REPLY_TIMEOUT_SECONDS": _from_policy(
        "client_reply_timeout", float, "How long a tool waits for its client's answer to a question.", 0.001
    ),
    "WRITE_TIMEOUT_SECONDS": _from_policy(
        "write_timeout", float, "How long a client may take to accept a piece of a stream (ASGI mount).", 0.001
    ),
    "STREAM_MAX_EVENTS": _from_policy("stream_max_events", int, "How many events of a stream can be replayed.", 1),
    "STREAM_MAX_BYTES": _from_policy("stream_max_bytes", int, "How many bytes of a stream can be replayed.", 1),
    "STREAM_KEEP_SECONDS": _from_policy("stream_keep", float, "How long a finished stream can be replayed.", 0),
    "STREAM_QUEUE": _from_policy("stream_queue", int, "How many events wait for a slow socket in memory.", 1),
    "LEASE_SECONDS": _from_policy("lease", float, "How long a silent node counts as living (`redis`).", 0.5),
    "DRAIN_SECONDS": _from_policy("drain", float, "How long calls may go on after SIGTERM.", 0),
    "REHYDRATE": _from_policy(
        "rehydrate", bool, "Shall a session be rebuilt from its id when the store has lost it (`redis`)?"
    ),
}


def get(name: str) -> Any:
    """Return a setting's value, or its default."""
    return _configured().get(name, SETTINGS[name].default)


def policy() -> Policy:
    """Build the engine's policy from this package's settings and from Django's own for hosts and proxies."""
    values = {setting.policy: get(name) for name, setting in SETTINGS.items() if setting.policy}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    hosts = settings.ALLOWED_HOSTS or ([".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
    djangos = {
        "allowed_hosts": tuple(hosts),
        "forwarded_host": bool(settings.USE_X_FORWARDED_HOST),
        "forwarded_port": bool(settings.USE_X_FORWARDED_PORT),
        "forwarded_scheme": _forwarded_scheme(settings.SECURE_PROXY_SSL_HEADER),
    }
    return Policy(**{**values, **lists, **djangos})


def _forwarded_scheme(setting: Any) -> tuple[str, str] | None:
    if not setting:
        return None
    variable, secure = setting  # Django says so where it is no pair
    return str(variable).removeprefix("HTTP_").replace("_", "-").lower(), str(secure)


def problems() -> dict[str, str]:
    """Return what is wrong with the settings, by key."""
    configured = getattr(settings, "MCP_TRANSPORT", {})
    if not isinstance(configured, Mapping):
        return {"": f"MCP_TRANSPORT must be a dict, got {type(configured).__name__}"}
    found = {name: _problem(SETTINGS[name], value) for name, value in configured.items() if name in SETTINGS}
    versions = configured.get("PROTOCOL_VERSIONS", [*REVISIONS])
    if not found.get("PROTOCOL_VERSIONS") and (not versions or not set(versions) <= set(REVISIONS)):
        found["PROTOCOL_VERSIONS"] = f"expected some of {', '.join(REVISIONS)}, got {versions!r}"
    return {name: problem for name, problem in found.items() if problem}


def _configured() -> Mapping[str, Any]:
    configured = getattr(settings, "MCP_TRANSPORT", {})
    return configured if isinstance(configured, Mapping) else {}  # the checks say so


def _problem(setting: Setting, value: Any) -> str:
    if not _matches(setting.kind, value):
        # Lists of dicts hold options, and these may hold secrets.
        given = type(value).__name__ if setting.kind is Sequence else repr(value)
        return f"expected {_name(setting.kind)}, got {given}"
    if setting.minimum is not None and value is not None and value < setting.minimum:
        return f"expected {setting.minimum:g} or more, got {value!r}"
    return ""


def _matches(kind: Any, value: Any) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_matches(member, value) for member in typing.get_args(kind))
    if kind is list:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if kind is Sequence:
        return isinstance(value, list | tuple)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, kind)


_NAMES: Final = {
    Sequence: "a list",
    list: "a list of strings",
    str: "a string",
    int: "an integer",
    float: "a number",
    dict: "a dict",
    bool: "True or False",
}


def _name(kind: Any) -> str:
    if isinstance(kind, types.UnionType):
        return " or ".join(_name(member) for member in typing.get_args(kind))
    return _NAMES.get(kind, "None")
