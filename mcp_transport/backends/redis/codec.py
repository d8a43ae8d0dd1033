"""Records, flights, events and messages between nodes, as they stand in Redis.

Times are whole milliseconds there, and seconds as floats here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote

import orjson

from mcp_transport.backends.base import Event, StreamRecord
from mcp_transport.protocol import inbox
from mcp_transport.protocol.address import caller_block
from mcp_transport.protocol.history import Ending, HistoryEntry, Occasion
from mcp_transport.protocol.inbox import NodeMessage
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.protocol.session import Flight, Session

__all__ = [
    "decode_caller",
    "decode_events",
    "decode_flight",
    "decode_history",
    "decode_id",
    "decode_message",
    "decode_parts",
    "decode_session",
    "decode_streams",
    "encode_changes",
    "encode_endings",
    "encode_event",
    "encode_flight",
    "encode_id",
    "encode_members",
    "encode_message",
    "milliseconds",
    "pairs",
]

# What never changes in a session's life is kept as one value.
_FIXED: Final = ("protocol_version", "client_info", "capabilities", "user", "address", "user_agent")
# Of them, what is longer is read each time: clients choose most of it.
_SHORT: Final = 1024
_MESSAGES: Final = {kind.__name__: kind for kind in inbox.NodeMessage.__args__}


def milliseconds(seconds: float) -> int:
    """Convert seconds to whole milliseconds."""
    return round(seconds * 1000)


def pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Read a flat list of names and values, which is how scripts return a hash."""
    return zip(flat[::2], flat[1::2], strict=True)


def encode_members(session: Session) -> list[Any]:
    """Write a record's members, without the times, as a flat list of names and values."""
    fixed = orjson.dumps({name: getattr(session, name) for name in _FIXED})
    changing = encode_changes(
        {
            "initialized": session.initialized,
            "log_level": session.log_level,
            "subscriptions": session.subscriptions,
            "node": session.node,
            "requests": session.requests,
            "errors": session.errors,
        }
    )
    return ["principal", session.principal, "about", fixed, *changing]


def encode_changes(changes: dict[str, Any]) -> list[Any]:
    """Write members that change, as a flat list of names and values."""
    flat: list[Any] = []
    for name, value in changes.items():
        if name == "subscriptions":
            value = orjson.dumps(list(value))
        flat += [name, int(value) if isinstance(value, bool) else value]
    return flat


def decode_session(key: str, members: Sequence[Any]) -> Session:
    """Read a record, as `read_record` of the prelude returns it."""
    principal, initialized, log_level, uris, node, requests, errors, created, last_seen, ends, about = members
    return Session(
        key=key,
        principal=principal.decode(),
        initialized=initialized == b"1",
        log_level=log_level.decode(),
        subscriptions=tuple(orjson.loads(uris)),
        node=node.decode(),
        requests=int(requests),
        errors=int(errors),
        created=int(created) / 1000,
        last_seen=int(last_seen) / 1000,
        ends=int(ends) / 1000,
        **_about(about),
    )


def decode_caller(principal: bytes, about: bytes) -> str:
    """Read `Session.caller` from two members of a record."""
    return principal.decode() or caller_block(_about(about)["address"])


def _about(fixed: bytes) -> dict[str, Any]:
    return _known_about(fixed) if len(fixed) <= _SHORT else _read_about(fixed)


def _read_about(fixed: bytes) -> dict[str, Any]:
    members: dict[str, Any] = orjson.loads(fixed)
    return members


_known_about = lru_cache(maxsize=1024)(_read_about)  # it never changes, and comes with each request


def encode_id(request_id: RequestId) -> bytes:
    """Write a request id; 1 and "1" are two ids (JSON-RPC 2.0, 4)."""
    return orjson.dumps(request_id)


def decode_id(raw: bytes) -> RequestId:
    """Read a request id."""
    request_id: RequestId = orjson.loads(raw)
    return request_id


def encode_flight(flight: Flight) -> bytes:
    """Write a flight, without the time, which the store adds after the stream."""
    head = f"{flight.node} {flight.stream} {flight.digest.hex()} {flight.safe:d} {_quoted(flight.operation)} "
    return head.encode() + flight.body


@lru_cache(maxsize=1024)  # there are no more tools than that
def _quoted(text: str) -> str:
    return quote(text, safe="/", errors="replace")


def decode_flight(request_id: bytes, value: bytes) -> Flight:
    """Read a flight."""
    node, stream, started, digest, safe, operation, body = value.split(b" ", 6)
    return Flight(
        request_id=decode_id(request_id),
        node=node.decode(),
        stream=stream.decode(),
        operation=unquote(operation.decode()),
        started=int(started) / 1000,
        digest=bytes.fromhex(digest.decode()),
        safe=safe == b"1",
        body=body,
    )


def encode_endings(endings: Mapping[RequestId, Ending]) -> list[Any]:
    """Write how requests ended, as a flat list of ids and endings."""
    return [word for request_id, ending in endings.items() for word in (encode_id(request_id), ending.value)]


def decode_history(lines: Sequence[bytes]) -> tuple[HistoryEntry, ...]:
    """Read what happened in a session."""
    return tuple(_history_entry(line) for line in lines)


def _history_entry(line: bytes) -> HistoryEntry:
    what, time, node, stream, *rest = line.split(b" ", 7)
    occasion, when = Occasion(what.decode()), int(time) / 1000
    if occasion is not Occasion.ENDED:
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
        seconds=max(0, int(took)) / 1000,
    )


def decode_parts(flights: Sequence[bytes], streams: Sequence[bytes]) -> tuple[frozenset[str], list[str]]:
    """Return the nodes that run a session's calls or hold its streams, and the streams' names."""
    named = {name.decode(): orjson.loads(value) for name, value in pairs(streams) if name != b"!"}
    nodes = {value.split(b" ", 1)[0].decode() for value in flights}
    holders = {stream["holder"] for stream in named.values()}
    return frozenset(nodes | holders - {""}), list(named)


def decode_streams(streams: Sequence[bytes]) -> tuple[StreamRecord, ...]:
    """Read what is known of a session's streams."""
    named = [(name.decode(), orjson.loads(value)) for name, value in pairs(streams) if name != b"!"]
    return tuple(
        StreamRecord(
            name=name,
            writer=stream["writer"],
            holder=stream["holder"],
            epoch=stream["epoch"],
            last=stream["last"],
            bytes=stream["bytes"],
            ended="kept_until" in stream,
        )
        for name, stream in named
    )


def encode_event(event: Event) -> bytes:
    """Write an event; the first byte tells whether the stream goes on."""
    return (b"." if event.terminal else b"+") + event.payload


def decode_events(flat: Sequence[bytes]) -> tuple[Event, ...]:
    """Read events from a flat list of numbers and values."""
    return tuple(Event(int(number), value[1:], value[:1] == b".") for number, value in pairs(flat))


def encode_message(message: NodeMessage) -> bytes:
    """Write a message to a node."""
    return orjson.dumps([type(message).__name__, asdict(message)])


def decode_message(raw: bytes) -> NodeMessage | None:
    """Read a message; one that a newer release has introduced is None."""
    kind, members = orjson.loads(raw)
    try:
        message: NodeMessage = _MESSAGES[kind](**members)
    except (KeyError, TypeError):
        return None
    return message
