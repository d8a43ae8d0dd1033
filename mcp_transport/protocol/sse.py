"""Server-sent event framing (WHATWG HTML, 9.2)."""

from __future__ import annotations

from typing import Final

__all__ = ["COMMENT", "HEADERS", "event", "id_event", "priming_event", "retry"]

# A comment keeps proxies from closing an idle stream; clients ignore it (2026-07-28, streamable-http).
COMMENT: Final = b": keep-alive\n\n"

HEADERS: Final = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache, no-transform"),
    # Redundant for clients (RFC 9110, 8.4.1), but it disables compression: Django's GZipMiddleware would compress
    # each event separately, and clients would decompress only the first one; compressing proxies delay events.
    ("Content-Encoding", "identity"),
    ("X-Accel-Buffering", "no"),  # 2026-07-28, streamable-http: nginx must not buffer events
)


def event(payload: bytes, event_id: str | None = None) -> bytes:
    """Frame one JSON message; our JSON contains no line breaks, so it fits in one data line."""
    if event_id is None:
        return b"event: message\ndata: " + payload + b"\n\n"
    return b"event: message\nid: " + event_id.encode() + b"\ndata: " + payload + b"\n\n"


def priming_event(event_id: str, retry_ms: int) -> bytes:
    """Frame the first event of a stream: an id to resume from, a delay in milliseconds, no data.

    2025-11-25, basic/transports, "Sending Messages", item 6.
    """
    return f"id: {event_id}\nretry: {retry_ms}\ndata: \n\n".encode()


def id_event(event_id: str) -> bytes:
    """Frame an id to resume from, without data."""
    return f"id: {event_id}\ndata: \n\n".encode()


def retry(milliseconds: int) -> bytes:
    """Frame only the delay before the client reconnects; this is not an event (WHATWG HTML, 9.2.6)."""
    return f"retry: {milliseconds}\n\n".encode()
