"""The state of a stream beside its events: who writes and who holds it, and which numbers its log has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from mcp_transport.backends.codec import decode_id, dumps, encode_id, milliseconds, seconds, strict
from mcp_transport.backends.dynamodb.items import Address, Item, count_of, expiry, name_of
from mcp_transport.backends.dynamodb.session_record import session_pk
from mcp_transport.backends.dynamodb.versioned import Kind
from mcp_transport.backends.records import StreamRecord
from mcp_transport.backends.results import Appended, Event, Holder
from mcp_transport.domain.history import Ending
from mcp_transport.domain.stream_messages import decode_marks, mark_time
from mcp_transport.protocol.cursor import WRITER_SPAN
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["STREAM_PREFIX", "Block", "StreamState", "stream_address", "stream_kind", "stream_record"]

STREAM_PREFIX: Final = "stream#"

# A log is divided into blocks of at most this share of its limits; the oldest block is dropped as a whole. A finer
# division would make each item that describes a stream larger, which each write of it pays for.
_BLOCKS: Final = 16


@dataclass(slots=True)
class Block:
    """Events of a log with contiguous numbers."""

    first: int
    last: int
    bytes: int


@dataclass(slots=True)
class StreamState:
    """A stream; `ends` is when its session ends at the latest."""

    ends: float
    writer: str = ""
    holder: str = ""
    epoch: int = 0
    last: int = 0
    delivered: int = 0
    last_broadcast_number: str = ""
    """The number of the last broadcast that was added."""
    losses: int = 0
    """How many of its writers have died."""
    floor: int = 0
    """The next writer's numbers begin above this: the session was in another region, whose numbers are lower."""
    stored_until: float | None = None
    """Set once the stream has ended."""
    ends_silently: bool = False
    """Is its last event an end without a message?"""
    digest: bytes = b""
    """The digest of an idempotency key's request, once the stream has ended."""
    answered: dict[RequestId, Ending] = field(default_factory=dict)
    """How requests ended whose answers are in the log: they leave the session's record in a second write."""
    blocks: list[Block] = field(default_factory=list)
    marks: list[tuple[int, float]] = field(default_factory=list)
    """When its newest events were stored."""

    @property
    def first(self) -> int:
        """Return the number of the oldest event in the log."""
        return self.blocks[0].first if self.blocks else 0

    @property
    def held_by(self) -> Holder | None:
        """Return the holder."""
        return Holder(self.holder, self.epoch) if self.holder else None

    def is_stored(self, now: float) -> bool:
        """Return whether the stream goes on, or ended a short time ago."""
        return self.stored_until is None or now <= self.stored_until

    def hand_to(self, node: str) -> Holder:
        """Make a node the holder."""
        self.epoch += 1
        self.holder = node
        return Holder(node, self.epoch)

    def refuse(self, writer: str, events: Sequence[Event], *, refills: bool) -> Appended | None:
        """Return why nothing of a writer's events may be stored: another writer, or with `refills` a gap."""
        if writer and self.writer not in ("", writer):
            return Appended(fenced=True)
        if refills and events and events[0].seq > self.last + 1:
            return Appended(missing=self.last + 1)
        return None

    def new_events(self, events: Sequence[Event]) -> list[Event]:
        """Return the events that the log does not have."""
        return [event for event in events if event.seq > self.last]

    def add(self, events: Sequence[Event], max_events: int, max_bytes: int, now: float) -> None:
        """Add events to the log, count what lies before a gap as lost, and drop the oldest beyond the limits."""
        if events and events[-1].seq > self.last:
            mark_time(self.marks, self.last + 1, now)
        for event in events:
            if event.seq > self.last:
                self._add(event, max(1, max_events // _BLOCKS), max_bytes // _BLOCKS)
        while len(self.blocks) > 1 and (
            sum(block.last - block.first + 1 for block in self.blocks) > max_events
            or sum(block.bytes for block in self.blocks) > max_bytes
        ):
            del self.blocks[0]

    def _add(self, event: Event, max_events: int, max_bytes: int) -> None:
        size, block = len(event.payload), self.blocks[-1] if self.blocks else None
        if event.seq != self.last + 1:
            self.blocks, block = [], None
        fits = block is not None and block.last - block.first + 1 < max_events and block.bytes + size <= max_bytes
        if block is not None and fits and block.last == event.seq - 1:
            block.last, block.bytes = event.seq, block.bytes + size
        else:
            self.blocks.append(Block(event.seq, event.seq, size))
        self.last, self.ends_silently = event.seq, event.terminal and not event.payload

    def begin_next_span(self) -> None:
        """Continue at the numbers of a new writer."""
        self.last = max((self.last // WRITER_SPAN + 1) * WRITER_SPAN, self.floor)

    def numbers_after(self, after: int) -> list[tuple[int, int]]:
        """Return the ranges of numbers after `after` that the log has."""
        return [(max(block.first, after + 1), block.last) for block in self.blocks if block.last > after]

    def lost_after(self, after: int, present: Sequence[Event]) -> int:
        """Return how many events after `after` are missing, of those that were `present` in the log."""
        lost, expected, numbers = 0, after + 1, {event.seq for event in present}
        for first, last in self.numbers_after(after):
            lost += _missing_between(expected, first)
            lost += sum(number not in numbers for number in range(first, last + 1))
            expected = last + 1
        return lost

    def lost_in(self, after: int) -> bool:
        """Return whether the log has dropped events after `after`."""
        expected = after + 1
        for first, last in self.numbers_after(after):
            if _missing_between(expected, first):
                return True
            expected = last + 1
        return False

    def has_message_after(self, after: int) -> bool:
        """Return whether the log has, or has dropped, a message after `after`."""
        if not self.blocks:
            return False
        newest = self.blocks[-1].last
        if self.ends_silently and newest % WRITER_SPAN == 1:  # the only event of a writer that has taken over
            newest = self.blocks[-2].last if len(self.blocks) > 1 else 0
        else:
            newest -= self.ends_silently
        return newest > after


def _missing_between(expected: int, number: int) -> int:
    """Count missing numbers; the gap between the numbers of two writers does not count."""
    if expected // WRITER_SPAN == number // WRITER_SPAN:
        return number - expected
    return number % WRITER_SPAN - 1


def stream_address(key: str, stream: str) -> Address:
    """Return the address of a stream's state."""
    return Address(session_pk(key), f"{STREAM_PREFIX}{stream}")


def stream_record(name: str, state: StreamState) -> StreamRecord:
    """Return the record that operators see."""
    return StreamRecord(
        name=name,
        writer=state.writer,
        holder=state.holder,
        epoch=state.epoch,
        last=state.last,
        bytes=sum(block.bytes for block in state.blocks),
        ended=state.stored_until is not None,
        marks=tuple(state.marks),
    )


def _encode(state: StreamState) -> Item:
    ends = state.ends if state.stored_until is None else min(state.stored_until, state.ends)
    stored: dict[str, Any] = {
        "ends": milliseconds(state.ends),
        "writer": state.writer,
        "holder": state.holder,
        "epoch": state.epoch,
        "last": state.last,
        "delivered": state.delivered,
        "last_broadcast_number": state.last_broadcast_number,
        "losses": state.losses,
        "floor": state.floor,
        "stored_until": None if state.stored_until is None else milliseconds(state.stored_until),
        "ends_silently": state.ends_silently,
        "digest": state.digest.hex(),
        "answered": {encode_id(request_id).decode(): ending for request_id, ending in state.answered.items()},
        "times": [value for number, time in state.marks for value in (number, milliseconds(time))],
        "blocks": [[block.first, block.last, block.bytes] for block in state.blocks],
    }
    return {
        "d": dumps({name: value for name, value in stored.items() if value}),
        **expiry(ends),
    }


@strict
def _decode(item: Item) -> StreamState:
    stored = orjson.loads(item["d"])
    state = StreamState(
        ends=seconds(stored["ends"]),
        writer=name_of(stored.get("writer", "")),
        holder=name_of(stored.get("holder", "")),
        epoch=count_of(stored.get("epoch", 0)),
        last=count_of(stored.get("last", 0), maximum=_MAX_NUMBER),
        delivered=count_of(stored.get("delivered", 0)),
        last_broadcast_number=name_of(stored.get("last_broadcast_number", "")),
        losses=count_of(stored.get("losses", 0)),
        floor=count_of(stored.get("floor", 0), maximum=_MAX_NUMBER),
        stored_until=seconds(stored["stored_until"]) if "stored_until" in stored else None,
        ends_silently=stored.get("ends_silently") is True,
        digest=bytes.fromhex(stored.get("digest", "")),
        answered={decode_id(raw.encode()): Ending(ending) for raw, ending in stored.get("answered", {}).items()},
        marks=list(decode_marks(stored.get("times"))),
        blocks=[Block(*map(count_of, block)) for block in stored.get("blocks", ())],
    )
    last = 0
    for block in state.blocks:
        if not last < block.first <= block.last:
            raise ValueError("impossible numbers")
        last = block.last
    count = sum(block.last - block.first + 1 for block in state.blocks)
    if max(last, state.delivered) > state.last or count > _MAX_NUMBERS:
        raise ValueError("impossible numbers")
    return state


# The largest number of an event that a client can name.
_MAX_NUMBER: Final = 10**15
# A loop over more numbers than a log ever has would block the process.
_MAX_NUMBERS: Final = 1_000_000

stream_kind: Final = Kind(_decode, _encode)
