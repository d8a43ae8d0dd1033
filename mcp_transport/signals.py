"""Signals for audit logs; receivers get one argument, `event`.

Receivers run in a thread of their own, one event after the other and after the response, so that they neither delay
nor break requests. The event classes can be imported from here; `mcp_transport.domain.audit_events` documents them.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from django.dispatch import Signal

from mcp_transport import conf
from mcp_transport.connections import end_connections
from mcp_transport.domain.audit_events import AccessDenied, AuditEvent, SessionClosed, SessionOpened, ToolCalled
from mcp_transport.executor import DaemonThreads, SerialExecutor

__all__ = [
    "AccessDenied",
    "SessionClosed",
    "SessionOpened",
    "SignalAuditor",
    "ToolCalled",
    "access_denied",
    "collect_events",
    "received",
    "send",
    "send_in_background",
    "session_closed",
    "session_opened",
    "settle",
    "tool_called",
]

logger = logging.getLogger(__name__)

session_opened = Signal()
"""Sent with a `SessionOpened`."""
session_closed = Signal()
"""Sent with a `SessionClosed`."""
tool_called = Signal()
"""Sent with a `ToolCalled`."""
access_denied = Signal()
"""Sent with an `AccessDenied`."""

_SIGNALS: Final[Mapping[type[AuditEvent], Signal]] = {
    SessionOpened: session_opened,
    SessionClosed: session_closed,
    ToolCalled: tool_called,
    AccessDenied: access_denied,
}

# The number of events that may wait for slow receivers; further ones are dropped and logged, to bound memory.
_MAX_QUEUED_EVENTS: Final = 10_000

_collected: ContextVar[list[AuditEvent] | None] = ContextVar("mcp_transport.signals.collected", default=None)

_queue_slots = threading.BoundedSemaphore(_MAX_QUEUED_EVENTS)
_worker = SerialExecutor(DaemonThreads("mcp-audit"))

# How long receivers may process queued events at exit: one that never returns must not keep the process alive.
_FLUSH_AT_EXIT_SECONDS: Final = 5.0


class SignalAuditor:
    """Sends the engine's events as signals."""

    @property
    def keeps_arguments(self) -> bool:
        """Return whether events contain the arguments of tools."""
        return bool(conf.get("AUDIT_ARGUMENTS"))

    def wants(self, kind: type[AuditEvent]) -> bool:
        """Return whether a kind of event has receivers."""
        return bool(_SIGNALS[kind].receivers)

    def record(self, event: AuditEvent) -> None:
        """Send an event in the background."""
        send_in_background(event)


def send_in_background(event: AuditEvent) -> None:
    """Queue an event for its signal's receivers."""
    if not _SIGNALS[type(event)].receivers:
        return
    if (collected := _collected.get()) is not None:
        collected.append(event)
        return
    if not _queue_slots.acquire(blocking=False):
        logger.error("an event was dropped: %d events are waiting for signal receivers", _MAX_QUEUED_EVENTS)
        return
    try:
        _worker.submit(_send, event).add_done_callback(_release_slot)
    except RuntimeError:
        _queue_slots.release()
        logger.error("an event was dropped: the process is exiting")


@contextmanager
def collect_events() -> Iterator[list[AuditEvent]]:
    """Collect the events of requests in this block, so that a test can `send` them in its own thread."""
    events: list[AuditEvent] = []
    token = _collected.set(events)
    try:
        yield events
    finally:
        _collected.reset(token)


def send(event: AuditEvent) -> None:
    """Send an event to its signal's receivers in this thread; their exceptions are logged."""
    _SIGNALS[type(event)].send_robust(sender=type(event), event=event)


async def received() -> None:
    """Wait until receivers have got all events so far, in a process that may not run on."""
    if _worker.is_used:
        await asyncio.wrap_future(_worker.submit(int))


def settle(seconds: float = 5.0) -> None:
    """Wait until all queued events have been received, for tests."""
    _worker.submit(int).result(seconds)


def _release_slot(future: Future[None]) -> None:
    _queue_slots.release()
    if not future.cancelled() and (error := future.exception()) is not None:
        logger.error("an event could not be sent", exc_info=error)


def _send(event: AuditEvent) -> None:
    try:
        send(event)
    finally:
        end_connections()


@atexit.register
def _flush_at_exit() -> None:
    if not _worker.is_used:
        return
    try:
        settle(_FLUSH_AT_EXIT_SECONDS)
    except TimeoutError:
        logger.error("events were dropped: signal receivers did not return in time")
