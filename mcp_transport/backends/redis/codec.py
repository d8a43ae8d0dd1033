"""Encode and decode records, requests in flight, events and messages between nodes, as they are stored in Redis.

Times are whole milliseconds in Redis, and seconds as floats in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote

import orjson

from mcp_transport.backends.codec import (
    decode_failure,
    decode_id,
    dumps,
    each,
    encode_failure,
    encode_id,
    milliseconds,
    seconds,
    strict,
)
from mcp_transport.backends.records import StreamRecord
from mcp_transport.backends.results import Event
from mcp_transport.domain.history import Ending, Endings, Failure, HistoryEntry, HistoryEvent
from mcp_transport.domain.session import InFlightRequest, Session, validated_members
from mcp_transport.domain.stream_messages import decode_marks
from mcp_transport.protocol.client_address import caller_block
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = [
    "HISTORY_FIELDS",
    "NEXT_CLEANUP",
    "RECORD_FIELDS",
    "REQUEST_FIELDS",
    "TERMINAL",
    "decode_caller",
    "decode_digest",
    "decode_events",
    "decode_history",
    "decode_names",
    "decode_parts",
    "decode_request",
    "decode_requests",
    "decode_session",
    "decode_state",
    "decode_streams",
    "decode_writer",
    "encode_changes",
    "encode_endings",
    "encode_event",
    "encode_members",
    "encode_note",
    "encode_request",
]

RECORD_FIELDS: Final = (
    "principal", "initialized", "log_level", "node", "requests", "errors", "created", "last_seen", "ends", "about"
)  # fmt: skip
"""The fields of a record, as scripts return them."""

REQUEST_FIELDS: Final = ("node", "stream", "started", "digest", "safe", "operation", "body")
"""A request in flight: fields separated by blanks, of which only the last one may contain some."""

HISTORY_FIELDS: Final = ("what", "time", "node", "stream", "duration", "ending", "operation", "id")
"""An entry of a session's history, in the same form; only a request that ended has the last four."""

TERMINAL: Final = b"."
"""The first byte of an event that ends its stream."""

NEXT_CLEANUP: Final = b"!"
"""The field beside a session's streams with the time of the next cleanup."""

# Fields that never change are stored as one value.
_FIXED: Final = ("protocol_version", "client_info", "capabilities", "user", "address", "user_agent", "region")
_CHANGING: Final = ("initialized", "log_level", "node", "requests", "errors")
# Longer values are decoded each time and not cached: clients choose most of their content.
_MAX_CACHED_BYTES: Final = 1024


def decode_names(names: Iterable[bytes]) -> list[str]:
    """Decode names; log and skip those that are not UTF-8."""
    return each("a name in an index", names, bytes.decode)


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Split a flat list of names and values, the form in which scripts return a hash."""
    return zip(flat[::2], flat[1::2], strict=True)


def encode_members(session: Session) -> list[Any]:
    """Encode a record's fields, except the times, as a flat list of names and values."""
    fixed = dumps({name: getattr(session, name) for name in _FIXED if name != "region" or session.region})
    changing = encode_changes({name: getattr(session, name) for name in _CHANGING})
    # The previous release stores subscriptions here, and cannot read a record without this field.
    return ["principal", session.principal, "about", fixed, "subscriptions", b"[]", *changing]


def encode_changes(changes: dict[str, Any]) -> list[Any]:
    """Encode changed fields as a flat list of names and values."""
    flat: list[Any] = []
    for name, value in changes.items():
        flat += [name, int(value) if isinstance(value, bool) else value]
    return flat


@strict
def decode_session(key: str, members: Sequence[Any]) -> Session:
    """Decode a record from the values of RECORD_FIELDS."""
    principal, initialized, log_level, node, requests, errors, created, last_seen, ends, about = members
    return Session(
        key=key,
        principal=principal.decode(),
        initialized=initialized == b"1",
        log_level=log_level.decode(),
        node=node.decode(),
        requests=int(requests),
        errors=int(errors),
        created=seconds(created),
        last_seen=seconds(last_seen),
        ends=seconds(ends),
        **_about(about),
    )


@strict
def decode_caller(principal: bytes, about: bytes) -> str:
    """Decode `Session.caller` from two fields of a record."""
    return principal.decode() or caller_block(_about(about)["address"])


def _about(fixed: bytes) -> dict[str, Any]:
    return _cached_about(fixed) if len(fixed) <= _MAX_CACHED_BYTES else _decode_about(fixed)


def _decode_about(fixed: bytes) -> dict[str, Any]:
    members = validated_members(orjson.loads(fixed))
    return {name: members[name] for name in _FIXED if name in members}


_cached_about = lru_cache(maxsize=1024)(_decode_about)  # the value never changes, and is read with each request


def encode_request(request: InFlightRequest) -> bytes:
    """Encode a request in flight, in the order of REQUEST_FIELDS; `enter.lua` sets its start."""
    head = f"{request.node} {request.stream} 0 {request.digest.hex()} {request.safe:d} {_quoted(request.operation)} "
    return head.encode() + request.body


@lru_cache(maxsize=1024)  # more than a server has tools
def _quoted(text: str) -> str:
    return quote(text, safe="/", errors="replace")


def decode_requests(flat: Sequence[bytes]) -> tuple[InFlightRequest, ...]:
    """Decode requests in flight from a flat list of ids and values."""
    return tuple(decode_request(*item) for item in _pairs(flat))


@strict
def decode_request(request_id: bytes, value: bytes) -> InFlightRequest:
    """Decode a request in flight."""
    node, stream, started, digest, safe, operation, body = value.split(b" ", len(REQUEST_FIELDS) - 1)
    return InFlightRequest(
        request_id=decode_id(request_id),
        node=node.decode(),
        stream=stream.decode(),
        operation=unquote(operation.decode()),
        started=seconds(started),
        digest=bytes.fromhex(digest.decode()),
        safe=safe == b"1",
        body=body,
    )


@strict
def decode_digest(raw: bytes) -> bytes:
    """Decode the digest of a request that has ended."""
    return bytes.fromhex(raw.decode())


def encode_endings(endings: Endings) -> list[Any]:
    """Encode how requests ended, as a flat list of ids and endings; a failure follows its ending after a blank."""
    return [
        item
        for request_id, ending in endings.items()
        for item in (
            encode_id(request_id),
            ending.value if isinstance(ending, Ending) else _ending(request_id, ending),
        )
    ]


def _ending(request_id: RequestId, failure: Failure) -> bytes:
    # The id is what `decode_history` finds the entry by.
    return b" ".join((failure.ending.encode(), quote(encode_id(request_id)).encode(), encode_failure(failure)))


def encode_note(entry: HistoryEntry) -> list[Any]:
    """Encode a request that was not admitted: time, node, operation, id and ending."""
    endings = {} if entry.request_id is None else {entry.request_id: entry.failure or Ending.ERROR}
    return [milliseconds(entry.when), entry.node, _quoted(entry.operation), *encode_endings(endings)]


def decode_history(lines: Sequence[bytes], failures: Sequence[bytes | None]) -> tuple[HistoryEntry, ...]:
    """Decode a session's history, and the failures of its requests, which `end_request` stores beside it."""
    entries = each("an entry of a session's history", lines, _history_entry)
    stored = [raw for raw in failures if raw is not None]
    parts = each("the failure of a request", stored, _named_failure)
    by_request = {(request_id, when): raw for request_id, when, raw in parts}
    return tuple(_with_failure(entry, by_request) for entry in entries) if by_request else tuple(entries)


def _named_failure(value: bytes) -> tuple[RequestId, float, bytes]:
    """Return the id of a request that failed, when it ended, and the failure, not decoded."""
    time, request_id, failure = value.split(b" ", 2)
    return decode_id(unquote(request_id.decode()).encode()), seconds(time), failure


def _with_failure(entry: HistoryEntry, failures: Mapping[tuple[Any, float], bytes]) -> HistoryEntry:
    raw, ending = failures.get((entry.request_id, entry.when)), entry.ending
    if raw is None or ending is None:
        return entry
    decoded = each("the failure of a request", [raw], lambda raw: decode_failure(raw, ending))
    return replace(entry, failure=decoded[0]) if decoded else entry


def _history_entry(line: bytes) -> HistoryEntry:
    what, time, node, stream, *rest = line.split(b" ", len(HISTORY_FIELDS) - 1)
    occasion = HistoryEvent(what.decode())
    entry = HistoryEntry(when=seconds(time), what=occasion, node=node.decode(), stream=stream.decode())
    if occasion is not HistoryEvent.ENDED:
        return entry
    duration, ending, operation, request_id = rest
    return replace(
        entry,
        operation=unquote(operation.decode()),
        request_id=decode_id(request_id),
        ending=Ending(ending.decode()),
        seconds=seconds(max(0, int(duration))),
    )


def decode_state(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Decode the values that tools have stored in a session."""
    return dict(each("a name in a session's state", _pairs(flat), lambda item: (item[0].decode(), item[1])))


def decode_parts(requests: Sequence[bytes], streams: Sequence[bytes]) -> tuple[frozenset[str], list[str]]:
    """Return the nodes that run a session's calls or hold its streams, and the streams' names."""
    records = decode_streams(streams)
    nodes = each("a request in flight", requests, lambda value: value.split(b" ", 1)[0].decode())
    return frozenset({*nodes, *(stream.holder for stream in records)} - {""}), [stream.name for stream in records]


def decode_streams(streams: Sequence[bytes]) -> tuple[StreamRecord, ...]:
    """Decode a session's streams."""
    items = [item for item in _pairs(streams) if item[0] != NEXT_CLEANUP]
    return tuple(each("a session's stream", items, _stream))


def _stream(item: tuple[bytes, bytes]) -> StreamRecord:
    name, stream = item[0].decode(), orjson.loads(item[1])
    return StreamRecord(
        name=name,
        writer=_text(stream["writer"]),
        holder=_text(stream["holder"]),
        epoch=int(stream["epoch"]),
        last=int(stream["last"]),
        bytes=int(stream["bytes"]),
        ended="kept_until" in stream,
        marks=decode_marks(stream.get("times")),
    )


@strict
def decode_writer(stream: bytes) -> str:
    """Decode the node that writes a stream."""
    return _text(orjson.loads(stream)["writer"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")
    return value


def encode_event(event: Event) -> bytes:
    """Encode an event; the first byte is TERMINAL for the end of the stream, else "+"."""
    return (TERMINAL if event.terminal else b"+") + event.payload


@strict
def decode_events(flat: Sequence[bytes]) -> tuple[Event, ...]:
    """Decode events from a flat list of numbers and values."""
    return tuple(Event(int(number), value[1:], value[:1] == TERMINAL) for number, value in _pairs(flat))
