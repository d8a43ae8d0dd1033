"""What a session's items become in another region: the copy that a re-homing stores, as values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mcp_transport.backends.codec import each
from mcp_transport.backends.dynamodb.items import UNREADABLE, VERSION, Item
from mcp_transport.backends.dynamodb.session_record import SessionRecord, record_address, record_kind
from mcp_transport.backends.dynamodb.session_records import HISTORY_PREFIX, decode_entry
from mcp_transport.backends.dynamodb.stream_state import STREAM_PREFIX, StreamState, stream_address, stream_kind
from mcp_transport.backends.membership import Stream
from mcp_transport.protocol.cursor import GET_STREAM

__all__ = ["Copy", "Move", "copy_of", "new_get_stream"]

_FIRST_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A session that gets another home."""

    key: str
    source: str
    target: str
    epoch: int
    """How many homes the session has had before the new one."""
    first_number: int
    """The numbers of events in the new home are above this."""
    nodes: Collection[str]
    """The nodes of the target, which may run calls and hold streams of the session already."""
    now: float
    ttl: float


@dataclass(slots=True)
class Copy:
    """The items for the new home, without namespace."""

    record: Item
    states: list[Item] = field(default_factory=list)
    """Those of streams."""
    others: list[Item] = field(default_factory=list)
    """Events, bodies, history, subscriptions and the state of tools."""
    orphans: list[tuple[Stream, str]] = field(default_factory=list)
    """Streams with calls whose node is lost, and the name of that node in the copy."""


def copy_of(items: Sequence[Item], move: Move) -> Copy | None:
    """Return the copy of a session's items; None without a record. Raises: Unreadable for an unreadable record."""
    by_name = {item["sk"]: item for item in items}
    kind = record_kind(move.key, move.ttl)
    if (stored := by_name.pop(record_address(move.key).sk, None)) is None:
        return None
    record = kind.decode(stored)
    address = record_address(move.key)._asdict()
    if record.is_closed:
        return Copy({**kind.encode(record), **address, VERSION: _FIRST_VERSION})
    states, others = _states_and_others(by_name, move)
    _drop_unanswerable(record, states, others, move)
    orphans = _move_calls(record, states, move)
    record.session, record.epoch = replace(record.session, region=move.target), move.epoch
    copy = Copy({**kind.encode(record), **address, VERSION: _FIRST_VERSION}, others=others, orphans=orphans)
    for name, state in states.items():
        _move_stream(state, move)
        copy.states.append(_state_item(move.key, name, state))
    return copy


def new_get_stream(key: str, ends: float, first_number: int) -> Item:
    """Return the state of the GET stream of a session that is rebuilt: its numbers are those of the new home."""
    return _state_item(key, GET_STREAM, StreamState(ends, last=first_number))


def _state_item(key: str, name: str, state: StreamState) -> Item:
    return {**stream_kind.encode(state), **stream_address(key, name)._asdict(), VERSION: _FIRST_VERSION}


def _states_and_others(by_name: dict[str, Item], move: Move) -> tuple[dict[str, StreamState], list[Item]]:
    """Divide a session's items into the streams that are still stored, and those that are copied as they are."""
    streams = {name: item for name, item in by_name.items() if name.startswith(STREAM_PREFIX)}
    decoded = each("a session's stream", streams.items(), lambda pair: (pair[0], stream_kind.decode(pair[1])))
    states = {name.removeprefix(STREAM_PREFIX): state for name, state in decoded if state.is_stored(move.now)}
    others = [item for name, item in by_name.items() if name not in streams and _is_readable(item)]
    return states, others


def _drop_unanswerable(
    record: SessionRecord, states: dict[str, StreamState], others: Sequence[Item], move: Move
) -> None:
    """Drop the streams of calls whose requests were not replicated: nobody could answer them."""
    history = [item for item in others if item["sk"].startswith(HISTORY_PREFIX)]
    entries = each("an entry of a session's history", history, decode_entry)
    answerable = {entry.stream for _, entry in entries if entry.request_id is not None}
    answerable |= {request.stream for request in record.in_flight.values()} | {GET_STREAM}
    for name, state in list(states.items()):
        if state.stored_until is None and state.writer not in move.nodes and name not in answerable:
            del states[name]


def _is_readable(value: Any) -> bool:
    """Return whether a release of this backend can have written a value."""
    if isinstance(value, dict | list):
        return all(map(_is_readable, value.values() if isinstance(value, dict) else value))
    return value is not UNREADABLE


def _move_calls(record: SessionRecord, states: dict[str, StreamState], move: Move) -> list[tuple[Stream, str]]:
    """Rename the nodes of requests in flight that are lost; give each request, and GET, a stream."""
    for request_id, request in record.in_flight.items():
        record.in_flight[request_id] = replace(request, node=_name_of(request.node, move))
    ends = record.session.ends
    states.setdefault(GET_STREAM, StreamState(ends))
    lost = {request.stream: request for request in record.in_flight.values() if request.node not in move.nodes}
    for request in record.in_flight.values():
        states.setdefault(request.stream, StreamState(ends, request.node))
    return [((move.key, stream), request.node) for stream, request in lost.items()]


def _move_stream(state: StreamState, move: Move) -> None:
    """Have a stream continue in the numbers of the new home, under the same writer only if that is there.

    What the former home has numbered and not replicated is then not numbered again.
    """
    if state.stored_until is None:
        state.floor = move.first_number
        if state.writer not in move.nodes:
            state.writer = _name_of(state.writer, move)
            state.last = max(state.last, move.first_number)
    if state.holder not in move.nodes:
        state.holder = ""


def _name_of(node: str, move: Move) -> str:
    """Return the name of a node in the copy: no lease has that of one that is not in the new home."""
    return node if not node or node in move.nodes or "/" in node else f"{move.source}/{node}"
