"""Signals for whoever keeps a record of who does what; receivers get one argument, `event`.

They are called in a thread of their own, one after the other and behind the answer: none of them slows or breaks a
request. The values they get are described in `mcp_transport.domain.audit_events`.
"""

from __future__ import annotations

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
    "SignalAuditor",
    "access_denied",
    "announce",
    "held_back",
    "send",
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

# Events that may wait for slow receivers; what comes beyond is dropped, and said so, before memory runs out.
_MOST_WAITING: Final = 10_000

_held: ContextVar[list[AuditEvent] | None] = ContextVar("mcp_transport.signals.held", default=None)

_room = threading.BoundedSemaphore(_MOST_WAITING)
_thread = SerialExecutor(DaemonThreads("mcp-audit"))

# Seconds that receivers have for what waits when the process ends: one that never returns must not keep it alive.
_LAST_SECONDS: Final = 5.0


class SignalAuditor:
    """Sends the engine's events as signals."""

    @property
    def keeps_arguments(self) -> bool:
        """Tell whether events shall carry what tools are called with."""
        return bool(conf.get("AUDIT_ARGUMENTS"))

    def wants(self, kind: type[AuditEvent]) -> bool:
        """Tell whether a kind of event has receivers."""
        return bool(_SIGNALS[kind].receivers)

    def record(self, event: AuditEvent) -> None:
        """Have an event sent."""
        announce(event)


def announce(event: AuditEvent) -> None:
    """Send an event to its signal's receivers, behind whatever goes on."""
    if not _SIGNALS[type(event)].receivers:
        return
    if (held := _held.get()) is not None:
        held.append(event)
        return
    if not _room.acquire(blocking=False):
        logger.error("an event is not recorded: %d wait for receivers of signals already", _MOST_WAITING)
        return
    try:
        _thread.submit(_send, event).add_done_callback(_leave)
    except RuntimeError:
        _room.release()
        logger.error("an event is not recorded: the process ends")


@contextmanager
def held_back() -> Iterator[list[AuditEvent]]:
    """Collect the events of the block's requests, to `send` them from a thread that is not ours: a test's."""
    events: list[AuditEvent] = []
    token = _held.set(events)
    try:
        yield events
    finally:
        _held.reset(token)


def send(event: AuditEvent) -> None:
    """Send an event to its signal's receivers, from this thread; what they raise is logged."""
    _SIGNALS[type(event)].send_robust(sender=type(event), event=event)


def settle(seconds: float = 5.0) -> None:
    """Wait until everything announced so far was received; tests need it."""
    _thread.submit(int).result(seconds)


def _leave(sent: Future[None]) -> None:
    _room.release()
    if not sent.cancelled() and (error := sent.exception()) is not None:
        logger.error("an event could not be sent", exc_info=error)


def _send(event: AuditEvent) -> None:
    try:
        send(event)
    finally:
        end_connections()


@atexit.register
def _finish() -> None:
    if not _thread.is_used:
        return
    try:
        settle(_LAST_SECONDS)
    except TimeoutError:
        logger.error("events are not recorded: receivers of signals did not return in time")
