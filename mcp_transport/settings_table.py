"""The table of the settings: the keys of `MCP_TRANSPORT`, each with its default, its type and its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings

from mcp_transport import validation
from mcp_transport.domain.policy import Policy
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["SETTINGS", "Setting"]

_POLICY: Final = Policy()


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
        "auto", str, "Where sessions are stored: `memory`, `cache`, `redis`, `dynamodb`, a dotted path, or `auto`."
    ),
    "REDIS_CLUSTER": Setting(
        None, bool | None, "Whether the cache's Redis is a Cluster; None reads it from the cache's options."
    ),
    "DYNAMODB": Setting(
        {},
        dict,
        "Where the table of the `dynamodb` backend is: `TABLE` (default `MCPSessions`), `REGION` and `ENDPOINT_URL`, "
        "which botocore finds elsewhere if they are not here or None. Of a global table: `REGIONS`, and after how "
        "many `REGION_LOST_SECONDS` (default 30) the sessions of a region continue in another one.",
        fault=validation.dynamodb_fault,
    ),
    "REGION": _from_policy(
        "region",
        str,
        "The region of this process, such as `eu-west-1`, if the deployment has several. It is in the header "
        "`X-MCP-Region` of each response, and in the ids of new sessions.",
        fault=validation.region_fault,
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
    "COALESCE": _from_policy(
        "coalesce",
        bool,
        "Whether lists, resource reads and prompts that are the same at the same time share one run; tools say so "
        "themselves.",
    ),
    "CALL_CONTEXT": Setting(
        None,
        str | None,
        "Dotted path of a function of the `HttpRequest` and the `Principal` that returns a context manager, entered "
        "around each call.",
    ),
    "PREWARM": Setting(
        (),
        list,
        "Dotted paths of functions without arguments, which a process calls before its `/readyz` answers 200.",
    ),
    "PREWARM_TIMEOUT_SECONDS": Setting(
        60.0, float, "How long a function of PREWARM may run, before it is tried again.", minimum=0.001
    ),
    "RATE_LIMITS": Setting(
        {},
        dict,
        "How often tools may be called and other requests sent: 'caller', 'session', 'address', 'tool' or the dotted "
        "path of a function to a rate such as '600/min' or '50/s burst 100', or to a list of rates.",
        fault=validation.rate_limits_fault,
    ),
    "RATE_LIMITS_WITHOUT_STORE": Setting(
        "count",
        str,
        "What rate limits do while the store does not answer: each process counts alone (`count`), or requests get "
        "503 (`refuse`).",
        fault=validation.without_store_fault,
    ),
    "THROTTLE_CLASSES": Setting(
        (), list, "Dotted paths of throttle classes of REST framework, which each POST and GET must pass."
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
    "FAILURE_PAYLOADS": _from_policy(
        "failure_payloads",
        bool,
        "Whether operators with the permission for payloads see the message and the arguments of failed calls.",
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
    "MAX_STORED_BYTES_PER_CALLER": _from_policy(
        "max_stored_bytes_per_caller",
        int,
        "How many bytes of events the calls of one caller may add to the logs of a process's streams within "
        "STREAM_KEEP_SECONDS; beyond it, its new calls are refused.",
        1,
    ),
    "STREAM_KEEP_SECONDS": _from_policy(
        "stream_keep",
        float,
        "How long a finished stream can be replayed, and a response is kept for its `Idempotency-Key`.",
        0,
    ),
    "STREAM_QUEUE": _from_policy("stream_queue", int, "How many events are queued in memory for a slow client.", 1),
    "LEASE_SECONDS": _from_policy("lease", float, "How long a silent node counts as alive (`redis`, `dynamodb`).", 1),
    "DRAIN_SECONDS": _from_policy("drain", float, "How long calls may continue after SIGTERM.", 0),
    "REHYDRATE": _from_policy(
        "rehydrate", bool, "Whether a session is rebuilt from its id when the store has lost it (`redis`)."
    ),
}
