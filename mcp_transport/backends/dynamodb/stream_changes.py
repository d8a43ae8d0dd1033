"""The changes of a stream's state, as values: each decides from the stored state alone, and may be applied again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcp_transport.backends.dynamodb.stream_state import StreamState
from mcp_transport.backends.dynamodb.versioned import Draft
from mcp_transport.backends.results import Appended, Event, Holder, StreamOver, UnknownStream
from mcp_transport.domain.history import Endings
from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.domain.policy import Policy

__all__ = ["Append", "Attach", "Checkpoint", "Claim", "Emit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Add a writer's events, and end the stream with a terminal one."""

    events: Sequence[Event]
    writer: str
    holder: str
    """The first holder of a new stream."""
    refills: bool
    now: float
    ends: float
    policy: Policy
    digest: bytes = b""
    leaving: Endings

    def begins(self, stored: StreamState | None) -> bool:
        """Return whether the log has no events yet, apart from those of an earlier stream of the same name."""
        return self._current(stored).last == 0

    @property
    def stored_until(self) -> float | None:
        """Return until when the stream is stored, if these events end it."""
        is_over = any(event.terminal for event in self.events)
        return self.now + self.policy.stream_keep if is_over else None

    def new_events(self, stored: StreamState | None) -> Sequence[Event]:
        """Return the events that are to be stored beside the state."""
        state = self._current(stored)
        is_refused = state.refuse(self.writer, self.events, refills=self.refills) is not None
        return () if is_refused else state.new_events(self.events)

    def __call__(self, draft: Draft[StreamState]) -> tuple[Appended, int]:
        """Return the result, and the number of the oldest event if older ones were dropped, else 0."""
        state = self._current(draft.value)
        if (refusal := state.refuse(self.writer, self.events, refills=self.refills)) is not None:
            return refusal, 0
        draft.value, oldest = state, state.first
        state.writer = state.writer or self.writer
        if self.holder and state.epoch == 0:
            state.hand_to(self.holder)
        state.add(self.events, self.policy.stream_max_events, self.policy.stream_max_bytes, self.now)
        state.answered |= {request_id: ending.ending for request_id, ending in self.leaving.items()}
        if self.stored_until is not None:
            state.stored_until, state.digest = self.stored_until, self.digest or state.digest
        return Appended(state.held_by), state.first if state.first > oldest > 0 else 0

    def _current(self, stored: StreamState | None) -> StreamState:
        return stored if stored is not None and stored.is_stored(self.now) else StreamState(self.ends, self.writer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """Number a message and add it; a broadcast only once, and only for a subscriber."""

    payload: bytes
    broadcast: Broadcast | None
    is_subscribed: bool
    now: float
    ends: float
    policy: Policy

    def __call__(self, draft: Draft[StreamState]) -> tuple[int, Holder | None, int] | None:
        """Return number, holder, and the number of the oldest event if older ones were dropped, else 0."""
        state = draft.value or StreamState(self.ends)
        if self.broadcast is not None:
            if self.broadcast.number <= state.last_broadcast_number:
                return None
            state.last_broadcast_number = self.broadcast.number
        draft.value, oldest = state, state.first
        if not self.is_subscribed:
            return None
        event = Event(state.last + 1, self.payload)
        state.add([event], self.policy.stream_max_events, self.policy.stream_max_bytes, self.now)
        return event.seq, state.held_by, state.first if state.first > oldest > 0 else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Make a node the holder of a stream, from the client's position or the last delivered one."""

    stream: str
    after: int | None
    node: str
    running: str | None
    """The node that runs the stream's calls."""
    is_get: bool
    now: float
    ends: float

    def __call__(self, draft: Draft[StreamState]) -> tuple[StreamState, Holder, Holder | None, int]:
        """Return the state, the new and the previous holder, and the position. Raises: UnknownStream, StreamOver."""
        state = draft.value
        if state is None or not state.is_stored(self.now):
            if not self.is_get and self.running is None:
                raise UnknownStream(self.stream)
            state = StreamState(self.ends, self.running or "")
        cursor = state.delivered if self.after is None else self.after
        if cursor > state.last and self.running is None:
            raise UnknownStream(self.stream)
        if state.stored_until is not None and not state.lost_in(cursor) and not state.has_message_after(cursor):
            raise StreamOver(self.stream)
        draft.value, previous = state, state.held_by
        return state, state.hand_to(self.node), previous, cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Make a node the writer of a stream whose writer is dead, and fence the old writer."""

    writer: str
    node: str
    has_requests: bool
    ends: float
    now: float
    resumes: bool = False
    """Has this process begun to claim it for the node, and failed on the way?"""

    def __call__(self, draft: Draft[StreamState]) -> StreamState | None:
        """Return the state, or None for a stream that has ended, or that another node writes."""
        state = draft.value
        if state is None or not state.is_stored(self.now):
            state = StreamState(self.ends, self.writer)
        is_foreign = state.writer not in ("", self.writer, self.node if self.resumes else self.writer)
        if state.stored_until is not None or is_foreign or (not self.has_requests and state.writer == ""):
            return None
        state.losses += self.node not in (self.writer, state.writer)
        draft.value, state.writer = state, self.node
        state.begin_next_span()
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Record what a socket was sent, and that it is closed."""

    delivered: int
    last_broadcast: str
    released_epoch: int

    def __call__(self, draft: Draft[StreamState]) -> None:
        """Change a stream that exists."""
        state = draft.value
        if state is None:
            return
        if state.holder and state.epoch == self.released_epoch:
            state.holder = ""
        state.delivered, state.last = max(state.delivered, self.delivered), max(state.last, self.delivered)
        state.last_broadcast_number = max(state.last_broadcast_number, self.last_broadcast)
