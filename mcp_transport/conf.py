"""The settings: one dict, `MCP_TRANSPORT`; this table is its only description in code.

Nothing else in the package reads `django.conf`, and nothing is read at import, so `override_settings` works.
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

# How much a name must look like MCP_TRANSPORT to be taken for it; less does where it names MCP.
_ALIKE: Final = 0.9
_ALIKE_WITH_MCP: Final = 0.7


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the dict: its default, its type as an annotation, and what it decides."""

    default: Any
    kind: Any
    help: str
    policy: str = field(default="", kw_only=True)
    """The `Policy` member it becomes."""
    minimum: float | None = field(default=None, kw_only=True)
    fault: Callable[[Any], str] = field(default=lambda value: "", kw_only=True)
    """Says what is wrong with a value of the right type."""
    check: str = field(default="mcp_transport.E002", kw_only=True)
    """The id of the system check that does so."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in the settings, as the system check with that id reports it."""

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
    known = bool(versions) and set(versions) <= set(REVISIONS)
    return "" if known else f"expected some of {', '.join(REVISIONS)}, got {versions!r}"


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
        fault=validation.cache_hints_fault,
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
    "CACHE": Setting(
        "default",
        str,
        "The alias of the Django cache that the `cache` and `redis` backends use.",
        fault=_cache_fault,
        check="mcp_transport.E004",
    ),
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
    "RESOURCE_URL": Setting(
        "",
        str,
        "The URL of the endpoint as clients know it, to which tokens are bound.",
        fault=validation.url_fault,
        check="mcp_transport.E005",
    ),
    "AUTHORIZATION_SERVERS": Setting(
        None, list | None, "The issuers that clients are sent to; None asks the authenticators."
    ),
    "REQUIRED_SCOPES": Setting((), list, "The scopes that every request needs.", fault=validation.scopes_fault),
    "IMPLIED_SCOPES": Setting(
        {},
        dict,
        "Broader scopes, and the list of those that each of them covers.",
        fault=validation.implied_scopes_fault,
    ),
    "AUDIT_ARGUMENTS": Setting(False, bool, "Shall the signal `tool_called` carry what tools are called with?"),
    "LOG_EXCEPTION_TEXTS": Setting(
        None, bool | None, "Shall logs quote what tools raise, which may hold arguments? None: while DEBUG is on."
    ),
    "PROTOCOL_VERSIONS": _from_policy("versions", list, "The protocol revisions to serve.", fault=_versions_fault),
    "ALLOWED_ORIGINS": _from_policy(
        "allowed_origins",
        list,
        "Origins of web pages that may call, besides the server's own.",
        fault=validation.origins_fault,
    ),
    "TRUSTED_PROXIES": _from_policy(
        "trusted_proxies",
        list,
        "The proxies whose X-Forwarded-For names the client: addresses, networks, or 'unix' for a Unix socket.",
        fault=validation.proxies_fault,
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
    "MAX_REQUEST_VALUES": _from_policy(
        "max_request_values", int, "The most JSON values in the body of a request, however deep they stand.", 100
    ),
    "MAX_RESULT_BYTES": _from_policy(
        "max_result_bytes",
        int,
        "The largest result of a call, and the largest other message that it sends.",
        1024,
        validation.result_bytes_fault,
    ),
    "MAX_BYTES_IN_FLIGHT": _from_policy(
        "max_bytes_in_flight",
        int,
        "How much memory the bodies of requests may take in a process, with what is decoded from them, while they "
        "arrive and until their calls end.",
        1,
    ),
    "MAX_BYTES_IN_FLIGHT_PER_CALLER": _from_policy(
        "max_bytes_in_flight_per_caller", int, "How much of it one caller may take.", 1
    ),
    "MAX_BATCH": _from_policy("max_batch", int, "The most messages in a batch (2025-03-26).", 1),
    "BODY_TIMEOUT_SECONDS": _from_policy(
        "body_timeout", float, "How long a body may take to arrive (ASGI mount; not daphne).", 0.001
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
        "write_timeout",
        float,
        "How long a client may take to accept a piece of a stream (ASGI mount; not daphne).",
        0.001,
    ),
    "STREAM_MAX_EVENTS": _from_policy("stream_max_events", int, "How many events of a stream can be replayed.", 1),
    "STREAM_MAX_BYTES": _from_policy("stream_max_bytes", int, "How many bytes of a stream can be replayed.", 1),
    "STREAM_KEEP_SECONDS": _from_policy(
        "stream_keep",
        float,
        "How long a finished stream can be replayed, and an answer is kept under its `Idempotency-Key`.",
        0,
    ),
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
        "secure_host": _secure_host(get("RESOURCE_URL")),
    }
    return Policy(**{**values, **lists, **djangos})


def _forwarded_scheme(setting: Any) -> tuple[str, str] | None:
    if not setting:
        return None
    variable, secure = setting  # Django says so where it is no pair
    return str(variable).removeprefix("HTTP_").replace("_", "-").lower(), str(secure)


def _secure_host(url: Any) -> str:
    """Return the host of an https URL as a Host header has it, without the port; "" for any other value."""
    if not isinstance(url, str) or validation.url_fault(url):
        return ""
    parsed = urlsplit(url)
    host = parsed.hostname or ""
    return (f"[{host}]" if ":" in host else host.removesuffix(".")) if parsed.scheme == "https" else ""


def problems() -> dict[str, str]:
    """Return what is wrong with the values of settings, by key."""
    configured = getattr(settings, "MCP_TRANSPORT", {})
    if not isinstance(configured, Mapping):
        return {"": f"MCP_TRANSPORT must be a dict, got {type(configured).__name__}"}
    return {name: problem for name, setting in SETTINGS.items() if (problem := _problem(setting, get(name)))}


def faults() -> list[Fault]:
    """Return the errors that the settings themselves show, before anything is built from them."""
    found = [
        Fault(
            name,
            f"{name} is no setting, and there is no MCP_TRANSPORT.",
            f"Rename {name} to MCP_TRANSPORT; if it is none of this package, set MCP_TRANSPORT = {{}} beside it.",
            "mcp_transport.E001",
        )
        for name in _names_alike()
    ]
    for name in _configured():
        if name not in SETTINGS:
            close = difflib.get_close_matches(str(name).upper(), SETTINGS, 1)
            hint = f"Did you mean {close[0]!r}?" if close else "docs/reference/settings.md lists the known ones."
            found.append(Fault(str(name), f"MCP_TRANSPORT[{name!r}] is no setting.", hint, "mcp_transport.E001"))
    for name, problem in problems().items():
        place = f"MCP_TRANSPORT[{name!r}]" if name else "MCP_TRANSPORT"
        check = "mcp_transport.E002" if not name or _type_fault(SETTINGS[name], get(name)) else SETTINGS[name].check
        found.append(Fault(name, f"{place}: {problem}.", f"Correct {place} in your settings.", check))
    return found


def _names_alike() -> list[str]:
    """Return the names under which MCP_TRANSPORT may have been written by mistake."""
    if hasattr(settings, "MCP_TRANSPORT"):
        return []
    # Django drops names in lower case; the module still has them.
    module = vars(sys.modules.get(os.environ.get(ENVIRONMENT_VARIABLE, ""), object))
    values = {name: value for name, value in module.items() if not name.isupper() and _is_alike(name)}
    # The others are not read: Django warns of deprecated settings when they are.
    values |= {name: getattr(settings, name) for name in dir(settings) if name.isupper() and _is_alike(name)}
    return sorted(name for name, value in values.items() if value and isinstance(value, Mapping))


def _is_alike(name: str) -> bool:
    matcher = difflib.SequenceMatcher(None, name.upper(), "MCP_TRANSPORT")
    least = _ALIKE_WITH_MCP if "MCP" in name.upper() else _ALIKE
    # The first two are upper bounds of the third, and quick.
    return all(ratio() >= least for ratio in (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio))


def _configured() -> Mapping[str, Any]:
    configured = getattr(settings, "MCP_TRANSPORT", {})
    return configured if isinstance(configured, Mapping) else {}  # a fault, which nothing is served with


def _problem(setting: Setting, value: Any) -> str:
    if fault := _type_fault(setting, value):
        return fault
    if setting.minimum is not None and value is not None and value < setting.minimum:
        return f"expected {setting.minimum:g} or more, got {value!r}"
    return setting.fault(value)


def _type_fault(setting: Setting, value: Any) -> str:
    # Lists of dicts hold options, and these may hold secrets.
    return validation.type_fault(setting.kind, value, is_secret=setting.kind is Sequence)
