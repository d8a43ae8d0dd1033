"""Everything that an operator can configure, as one value that the engine is constructed with."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_transport.protocol.request_rules import RequestRules

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(RequestRules):
    """Limits, times and lists; durations are seconds unless the name says otherwise."""

    trusted_proxies: tuple[str, ...] = ()
    """Networks whose X-Forwarded-For is trusted: `protocol.client_address.TrustedProxies`."""
    session_ttl: float = 3600.0
    session_max_age: float = 7 * 86400.0
    max_sessions_per_principal: int = 10_000
    max_request_values: int = 100_000  # 13 MB at most, once decoded
    max_result_bytes: int = 8 * 1024 * 1024  # what a stream's log holds
    max_bytes_in_flight: int = 128 * 1024 * 1024  # a pod has 512 MiB, and the process without requests a fifth of it
    max_bytes_in_flight_per_caller: int = 64 * 1024 * 1024  # the largest body of ordinary records takes 56
    body_timeout: float = 30.0
    sse_after: float = 1.0
    keepalive: float = 15.0  # below the 60 s after which nginx and ALB close a silent connection
    retry_ms: int = 1000
    client_reply_timeout: float = 300.0
    write_timeout: float = 30.0
    session_history: int = 20  # 2 KB
    stream_max_events: int = 1000
    stream_max_bytes: int = 8 * 1024 * 1024
    stream_keep: float = 300.0
    stream_queue: int = 256
    lease: float = 10.0
    drain: float = 20.0  # below the 30 s after which Kubernetes kills
    rehydrate: bool = True
