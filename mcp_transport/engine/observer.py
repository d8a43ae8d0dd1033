"""What an operator is told of what happens: between nodes a log line and a count each time, the rest for an audit."""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum
from typing import Final, Protocol

from mcp_transport.domain.audit_events import AuditEvent
from mcp_transport.domain.session import short_id

__all__ = ["Auditor", "Happening", "Observer"]

logger = logging.getLogger(__name__)

_MAX_DETAIL: Final = 80


class Happening(StrEnum):
    """Something that happened to a session, a stream, a call or a node; the names are those of the counters."""

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
    DRAINED = "drained"


_LINES: Final = {
    Happening.TAKEN_OVER: (logging.INFO, "a stream goes on at another socket"),
    Happening.SUPERSEDED: (logging.INFO, "a socket gave way to a newer one"),
    Happening.FENCED: (logging.WARNING, "calls were stopped: another node answers for them"),
    Happening.ABANDONED: (logging.WARNING, "calls ended without a result: their node stopped or was lost"),
    Happening.RERUN: (logging.WARNING, "calls of a lost node run again"),
    Happening.GIVEN_UP: (logging.ERROR, "a call is not run again: two nodes were lost while they ran it"),
    Happening.EXPIRED: (logging.WARNING, "a call was ended: its session has expired"),
    Happening.LOST: (logging.WARNING, "messages of a stream are lost"),
    Happening.REFILLED: (logging.INFO, "the store had lost messages of a stream, and got them again"),
    Happening.REHYDRATED: (logging.INFO, "a session was rebuilt from its id"),
    Happening.NODE_LOST: (logging.WARNING, "a node did not renew its lease"),
    Happening.DRAINED: (logging.INFO, "a node takes no new clients"),
}


class Auditor(Protocol):
    """Whoever keeps a record of who does what."""

    @property
    def keeps_arguments(self) -> bool:
        """Tell whether events shall carry what tools are called with."""

    def wants(self, kind: type[AuditEvent]) -> bool:
        """Tell whether anybody listens to a kind of event; it is asked with each call."""

    def record(self, event: AuditEvent) -> None:
        """Take an event; it neither waits nor fails."""


class Observer:
    """Logs and counts what happens; `counts` has every name from the beginning."""

    def __init__(self, auditor: Auditor | None = None) -> None:
        self.auditor = auditor
        self.counts: Counter[str] = Counter(dict.fromkeys(Happening, 0))

    def audits(self, kind: type[AuditEvent]) -> bool:
        """Tell whether anybody wants to know of a kind of event."""
        return self.auditor is not None and self.auditor.wants(kind)

    def audit(self, event: AuditEvent) -> None:
        """Hand an event to whoever wants to know of its kind."""
        if self.auditor is not None and self.auditor.wants(type(event)):
            self.auditor.record(event)

    def happened(self, happening: Happening, key: str = "", **details: object) -> None:
        """Log one line, with the session's short name in place of its `key`, and count."""
        self.counts[happening] += 1
        level, text = _LINES[happening]
        session = {"session": short_id(key)} if key else {}
        words = [f"{name}={_word(value)}" for name, value in {**session, **details}.items()]
        logger.log(level, "%s", " ".join([f"{happening}: {text}", *words]))


def _word(value: object) -> str:
    """Write a value that may come from a client: cut, and quoted unless it is one plain word."""
    text = str(value)
    text = text if len(text) <= _MAX_DETAIL else f"{text[:_MAX_DETAIL]}..."
    return text if text.isascii() and text.isprintable() and not set(text) & set(" \"'=") and text else ascii(text)
