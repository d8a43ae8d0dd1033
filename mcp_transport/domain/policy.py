"""All settings of the engine as one value."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_transport.protocol.request_rules import RequestRules

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(RequestRules):
    """The configured limits and durations; durations are in seconds unless the name says otherwise."""

    trusted_proxies: tuple[str, ...] = ()
    """The proxies whose X-Forwarded-For is trusted: `protocol.client_address.TrustedProxies`."""
    session_ttl: float = 3600.0
    session_max_age: float = 7 * 86400.0
    max_sessions_per_principal: int = 10_000
    max_request_values: int = 100_000  # at most 13 MB once decoded
    max_result_bytes: int = 8 * 1024 * 1024  # the size of a stream's log
    max_bytes_in_flight: int = 128 * 1024 * 1024  # of a pod's 512 MiB; an idle process takes a fifth
    max_bytes_in_flight_per_caller: int = 64 * 1024 * 1024  # the largest body of ordinary records takes 56 MiB
    max_concurrent_calls: int = 1000  # 33 KiB each
    max_concurrent_calls_per_caller: int = 250
    max_queued_calls: int = 1000
    max_queued_calls_per_caller: int = 250
    queue_timeout: float = 10.0  # below the 30 s after which impatient clients give up
    tool_threads: int = 32
    tool_timeout: float | None = 300.0
    coalesce: bool = True
    body_timeout: float = 30.0
    sse_after: float = 1.0
    keepalive: float = 15.0  # below the 60 s after which nginx and ALB close a silent connection
    retry_ms: int = 1000
    client_reply_timeout: float = 300.0
    write_timeout: float = 30.0
    session_history: int = 20  # 2 KB
    failure_payloads: bool = False
    stream_max_events: int = 1000
    stream_max_bytes: int = 8 * 1024 * 1024
    stream_keep: float = 300.0
    max_stored_bytes_per_caller: int = 128 * 1024 * 1024  # sixteen full logs, or 437 KB/s for ever
    stream_queue: int = 256
    lease: float = 10.0
    drain: float = 20.0  # below the 30 s after which Kubernetes kills the pod
    rehydrate: bool = True
    region: str = ""
    """The region of this process, if the deployment has several."""
