"""Records, flights, events and messages between nodes, as they stand in Redis.

Times are whole milliseconds there, and seconds as floats here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache, wraps
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import quote, unquote

import orjson

from mcp_transport.backends.base import Event, StreamRecord
from mcp_transport.domain.history import Ending, HistoryEntry, HistoryEvent
from mcp_transport.domain.node_messages import NodeMessage
from mcp_transport.domain.session import MAX_TIMESTAMP, InFlightRequest, Session, validated_members
from mcp_transport.exceptions import Unreadable
from mcp_transport.protocol.client_address import caller_block
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id
from mcp_transport.supervision import log_failure

__all__ = [
    "decode_caller",
    "decode_digest",
    "decode_events",
    "decode_flight",
    "decode_history",
    "decode_id",
    "decode_message",
    "decode_names",
    "decode_parts",
    "decode_session",
    "decode_state",
    "decode_streams",
    "decode_writer",
    "encode_changes",
    "encode_endings",
    "encode_event",
    "encode_flight",
    "encode_id",
    "encode_members",
    "encode_message",
    "milliseconds",
    "pairs",
    "strict",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Raw = TypeVar("_Raw")

# What never changes in a session's life is kept as one value.
_FIXED: Final = ("protocol_version", "client_info", "capabilities", "user", "address", "user_agent")
# Of them, what is longer is read each time: clients choose most of it.
_SHORT: Final = 1024
_MESSAGES: Final = {kind.__name__: kind for kind in NodeMessage.__args__}
_MEMBERS: Final = {name: frozenset(field.name for field in fields(kind)) for name, kind in _MESSAGES.items()}
_LATEST: Final = int(MAX_TIMESTAMP * 1000)


def strict(decode: Callable[_P, _T]) -> Callable[_P, _T]:
    """Raise Unreadable for whatever `decode` cannot make sense of."""

    @wraps(decode)
    def guarded(*args: _P.args, **options: _P.kwargs) -> _T:
        try:
            return decode(*args, **options)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise Unreadable(f"{decode.__name__.lstrip('_')} cannot read what is stored: {reason}") from error

    return guarded


def _each(what: str, items: Iterable[_Raw], decode: Callable[[_Raw], _T]) -> list[_T]:
    """Decode items one by one; what cannot be read is logged and left out."""
    found = []
    for item in items:
        try:
            found.append(decode(item))
        except Exception as error:
            log_failure(f"{what} cannot be read", error)
    return found


def milliseconds(seconds: float) -> int:
    """Convert seconds to whole milliseconds."""
    return round(seconds * 1000)


def _seconds(raw: bytes | int) -> float:
    """Convert milliseconds to seconds, as far as they are a time. Raises: ValueError."""
    if 0 <= (found := int(raw)) <= _LATEST:
        return found / 1000
    raise ValueError("no time")


def decode_names(names: Iterable[bytes]) -> list[str]:
    """Read names; what is no text is logged and left out."""
    return _each("a name in an index", names, bytes.decode)


def pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Read a flat list of names and values, which is how scripts return a hash."""
    return zip(flat[::2], flat[1::2], strict=True)


def encode_members(session: Session) -> list[Any]:
    """Write a record's members, without the times, as a flat list of names and values."""
    fixed = _dumps({name: getattr(session, name) for name in _FIXED})
    changing = encode_changes(
        {
            "initialized": session.initialized,
            "log_level": session.log_level,
            "node": session.node,
            "requests": session.requests,
            "errors": session.errors,
        }
    )
    # The previous release keeps subscriptions there, and does not read a record without them.
    return ["principal", session.principal, "about", fixed, "subscriptions", b"[]", *changing]


def _dumps(value: Any) -> bytes:
    """Write JSON, with integers beyond 64 bits; orjson reads these as floats."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()


def encode_changes(changes: dict[str, Any]) -> list[Any]:
    """Write members that change, as a flat list of names and values."""
    flat: list[Any] = []
    for name, value in changes.items():
        flat += [name, int(value) if isinstance(value, bool) else value]
    return flat


@strict
def decode_session(key: str, members: Sequence[Any]) -> Session:
    """Read a record, as `read_record` of the prelude returns it."""
    principal, initialized, log_level, node, requests, errors, created, last_seen, ends, about = members
    return Session(
        key=key,
        principal=principal.decode(),
        initialized=initialized == b"1",
        log_level=log_level.decode(),
        node=node.decode(),
        requests=int(requests),
        errors=int(errors),
        created=_seconds(created),
        last_seen=_seconds(last_seen),
        ends=_seconds(ends),
        **_about(about),
    )


@strict
def decode_caller(principal: bytes, about: bytes) -> str:
    """Read `Session.caller` from two members of a record."""
    return principal.decode() or caller_block(_about(about)["address"])


def _about(fixed: bytes) -> dict[str, Any]:
    return _known_about(fixed) if len(fixed) <= _SHORT else _read_about(fixed)


def _read_about(fixed: bytes) -> dict[str, Any]:
    members = validated_members(orjson.loads(fixed))
    return {name: members[name] for name in _FIXED if name in members}


_known_about = lru_cache(maxsize=1024)(_read_about)  # it never changes, and comes with each request


def encode_id(request_id: RequestId) -> bytes:
    """Write a request id; 1 and "1" are two ids (JSON-RPC 2.0, 4)."""
    return orjson.dumps(request_id) if isinstance(request_id, str) else b"%d" % request_id


def decode_id(raw: bytes) -> RequestId:
    """Read a request id. Raises: ValueError."""
    request_id: RequestId = json.loads(raw)
    if not is_request_id(request_id):
        raise ValueError("no request id")
    return request_id


def encode_flight(flight: InFlightRequest) -> bytes:
    """Write a flight, without the time, which the store adds after the stream."""
    head = f"{flight.node} {flight.stream} {flight.digest.hex()} {flight.safe:d} {_quoted(flight.operation)} "
    return head.encode() + flight.body


@lru_cache(maxsize=1024)  # there are no more tools than that
def _quoted(text: str) -> str:
    return quote(text, safe="/", errors="replace")


@strict
def decode_flight(request_id: bytes, value: bytes) -> InFlightRequest:
    """Read a flight."""
    node, stream, started, digest, safe, operation, body = value.split(b" ", 6)
    return InFlightRequest(
        request_id=decode_id(request_id),
        node=node.decode(),
        stream=stream.decode(),
        operation=unquote(operation.decode()),
        started=_seconds(started),
        digest=bytes.fromhex(digest.decode()),
        safe=safe == b"1",
        body=body,
    )


@strict
def decode_digest(raw: bytes) -> bytes:
    """Read the digest of a request that has ended."""
    return bytes.fromhex(raw.decode())


def encode_endings(endings: Mapping[RequestId, Ending]) -> list[Any]:
    """Write how requests ended, as a flat list of ids and endings."""
    return [word for request_id, ending in endings.items() for word in (encode_id(request_id), ending.value)]


def decode_history(lines: Sequence[bytes]) -> tuple[HistoryEntry, ...]:
    """Read what happened in a session."""
    return tuple(_each("an entry of a session's history", lines, _history_entry))


def _history_entry(line: bytes) -> HistoryEntry:
    what, time, node, stream, *rest = line.split(b" ", 7)
    occasion, when = HistoryEvent(what.decode()), _seconds(time)
    if occasion is not HistoryEvent.ENDED:
        return HistoryEntry(when=when, what=occasion, node=node.decode(), stream=stream.decode())
    took, ending, operation, request_id = rest
    return HistoryEntry(
        when=when,
        what=occasion,
        node=node.decode(),
        stream=stream.decode(),
        operation=unquote(operation.decode()),
        request_id=decode_id(request_id),
        ending=Ending(ending.decode()),
        seconds=_seconds(max(0, int(took))),
    )


def decode_state(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Read what a session's tools have stored."""
    return dict(_each("a name in a session's state", pairs(flat), lambda item: (item[0].decode(), item[1])))


def decode_parts(flights: Sequence[bytes], streams: Sequence[bytes]) -> tuple[frozenset[str], list[str]]:
    """Return the nodes that run a session's calls or hold its streams, and the streams' names."""
    named = decode_streams(streams)
    nodes = _each("a request in flight", flights, lambda value: value.split(b" ", 1)[0].decode())
    return frozenset({*nodes, *(stream.holder for stream in named)} - {""}), [stream.name for stream in named]


def decode_streams(streams: Sequence[bytes]) -> tuple[StreamRecord, ...]:
    """Read what is known of a session's streams."""
    named = [item for item in pairs(streams) if item[0] != b"!"]
    return tuple(_each("a session's stream", named, _stream))


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
    )


@strict
def decode_writer(stream: bytes) -> str:
    """Read who writes a stream."""
    return _text(orjson.loads(stream)["writer"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def encode_event(event: Event) -> bytes:
    """Write an event; the first byte tells whether the stream goes on."""
    return (b"." if event.terminal else b"+") + event.payload


@strict
def decode_events(flat: Sequence[bytes]) -> tuple[Event, ...]:
    """Read events from a flat list of numbers and values."""
    return tuple(Event(int(number), value[1:], value[:1] == b".") for number, value in pairs(flat))


def encode_message(message: NodeMessage) -> bytes:
    """Write a message to a node."""
    kind = type(message).__name__
    try:
        return orjson.dumps([kind, message])  # as it is: `asdict` would copy what a client sent
    except TypeError:  # an integer beyond 64 bits, as text inside of JSON: the standard library has to read it
        return orjson.dumps([kind, json.dumps(asdict(message))])


@strict
def decode_message(raw: bytes) -> NodeMessage | None:
    """Read a message: None for one that a newer release has introduced, without what it has added to others."""
    kind, members = orjson.loads(raw)
    if kind not in _MESSAGES:
        return None
    if isinstance(members, str):
        members = json.loads(members)
    message: NodeMessage = _MESSAGES[kind](**{name: members[name] for name in _MEMBERS[kind] & members.keys()})
    return message
