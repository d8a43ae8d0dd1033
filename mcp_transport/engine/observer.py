"""Events for operators: those of the cluster are logged and counted, those of users are audited."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Protocol

from mcp_transport.domain.audit_events import AuditEvent
from mcp_transport.domain.current_call import quote_detail
from mcp_transport.domain.session import short_id

__all__ = ["Auditor", "ClusterEvent", "Observer"]

logger = logging.getLogger(__name__)


class ClusterEvent(StrEnum):
    """Something that happened to a session, a stream, a call or a node; the values are counter names."""

    TAKEN_OVER = "taken_over"
    SUPERSEDED = "superseded"
    FENCED = "fenced"
    ABANDONED = "abandoned"
    RERUN = "rerun"
    GIVEN_UP = "given_up"
    EXPIRED = "expired"
    LOST = "lost"
    REFILLED = "refilled"
    REHYDRATED = "rehydrated"
    NODE_LOST = "node_lost"
    TIMED_OUT = "timed_out"
    DRAINED = "drained"
    CIRCUIT_OPENED = "circuit_opened"
    CIRCUIT_CLOSED = "circuit_closed"
    REHOMED = "rehomed"
    REHOMING_YIELDED = "rehoming_yielded"
    HOME_UNREACHABLE = "home_unreachable"
    HOME_REMOTE = "home_remote"


_LOG_LINES: Final = {
    ClusterEvent.TAKEN_OVER: (logging.INFO, "a stream continues on another socket"),
    ClusterEvent.SUPERSEDED: (logging.INFO, "a socket was closed for a newer one"),
    ClusterEvent.FENCED: (logging.WARNING, "calls were stopped: another node has taken them over"),
    ClusterEvent.ABANDONED: (logging.WARNING, "calls ended without a result: their node stopped or was lost"),
    ClusterEvent.RERUN: (logging.WARNING, "calls of a lost node run again"),
    ClusterEvent.GIVEN_UP: (logging.ERROR, "a call is not run again: two nodes were lost while running it"),
    ClusterEvent.EXPIRED: (logging.WARNING, "a call was ended: its session has expired"),
    ClusterEvent.LOST: (logging.WARNING, "messages of a stream are lost"),
    ClusterEvent.REFILLED: (logging.INFO, "messages of a stream were stored again after the store had lost them"),
    ClusterEvent.REHYDRATED: (logging.INFO, "a session was rebuilt from its id"),
    ClusterEvent.NODE_LOST: (logging.WARNING, "a node did not renew its lease"),
    ClusterEvent.TIMED_OUT: (logging.WARNING, "a call was ended: it has exceeded its timeout"),
    ClusterEvent.DRAINED: (logging.INFO, "a node accepts no new clients"),
    ClusterEvent.CIRCUIT_OPENED: (logging.WARNING, "calls of a tool are refused, since too many have failed"),
    ClusterEvent.CIRCUIT_CLOSED: (logging.INFO, "calls of a tool run again"),
    ClusterEvent.REHOMED: (logging.WARNING, "a session has its home here now: the region of its home is lost"),
    ClusterEvent.REHOMING_YIELDED: (logging.WARNING, "a session was given up: its home is in another region now"),
    ClusterEvent.HOME_UNREACHABLE: (logging.INFO, "an operation was refused: the region of its session is away"),
    ClusterEvent.HOME_REMOTE: (logging.DEBUG, "an operation ran at another region's endpoint"),
}


class Auditor(Protocol):
    """Records audit events."""

    @property
    def keeps_arguments(self) -> bool:
        """Return whether events carry the arguments of tool calls."""

    def wants(self, kind: type[AuditEvent]) -> bool:
        """Return whether a kind of event has listeners; called for each tool call."""

    def record(self, event: AuditEvent) -> None:
        """Record an event without blocking and without raising."""


class Observer:
    """Logs and counts cluster events and forwards audit events; `counts` contains every name from the start."""

    def __init__(self, auditor: Auditor | None = None) -> None:
        self.auditor = auditor
        self.counts: Counter[str] = Counter(dict.fromkeys(ClusterEvent, 0))

    def audits(self, kind: type[AuditEvent]) -> bool:
        """Return whether a kind of event is audited."""
        return self.auditor is not None and self.auditor.wants(kind)

    def audit(self, event: AuditEvent) -> None:
        """Pass an event to the auditor, if its kind is audited."""
        if self.auditor is not None and self.auditor.wants(type(event)):
            self.auditor.record(event)

    def report(self, event: ClusterEvent, key: str = "", **details: object) -> None:
        """Log one line, with the session's short id in place of its `key`, and count the event."""
        self.counts[event] += 1
        level, text = _LOG_LINES[event]
        session = {"session": short_id(key)} if key else {}
        fields = [f"{name}={quote_detail(value)}" for name, value in {**session, **details}.items()]
        logger.log(level, "%s", " ".join([f"{event}: {text}", *fields]))

    def report_by_name(self, event: str, key: str, details: Mapping[str, object]) -> None:
        """Report an event that the store has caused. Raises: ValueError for an unknown name."""
        self.report(ClusterEvent(event), key, **details)
