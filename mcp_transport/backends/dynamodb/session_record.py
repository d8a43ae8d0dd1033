"""A session as it is stored: its record, its requests in flight, and what decides about new ones, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final

import orjson

from mcp_transport.backends.codec import decode_id, dumps, encode_id, milliseconds, seconds, strict
from mcp_transport.backends.contracts import CANCEL_KEEP_SECONDS, MAX_CANCELS
from mcp_transport.backends.dynamodb.items import Address, Item, count_of, expiry, name_of
from mcp_transport.backends.dynamodb.versioned import Kind
from mcp_transport.backends.results import Entered
from mcp_transport.domain.history import Endings, HistoryEntry, HistoryEvent, ended_entry
from mcp_transport.domain.session import InFlightRequest, Session, validated_members
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["SHARDS", "NumberedEntry", "SessionRecord", "record_address", "record_kind", "session_pk", "shard_name"]

SHARDS: Final = 8
"""Into how many partitions the listing of all sessions is divided, each of which takes 1000 writes a second."""

# A session with so many requests in flight would not fit into an item.
_MAX_RECORD_BYTES: Final = 350 * 1024

# A body of more items would take more than 250 MB.
_MAX_BODY_PARTS: Final = 1000

_TIMES: Final = ("created", "last_seen", "ends")
_OF_CLOSED: Final = ("protocol_version", *_TIMES)
_COUNTED_BY_LISTINGS: Final = ("key", "calls", "streams")


NumberedEntry = tuple[int, HistoryEntry]
"""An entry of a session's history, and how many it has had with this one."""


@dataclass(slots=True)
class SessionRecord:
    """A session with what changes beside it."""

    session: Session
    in_flight: dict[RequestId, InFlightRequest] = field(default_factory=dict)
    """Without their bodies, which are stored beside the record."""
    body_parts: dict[RequestId, int] = field(default_factory=dict)
    """How many items have the body of a request that has one."""
    cancels: dict[RequestId, float] = field(default_factory=dict)
    """When requests were cancelled that had not arrived."""
    ended: dict[RequestId, float] = field(default_factory=dict)
    """When requests ended, for a moment: a cancellation of one came too late."""
    entries: int = 0
    """How many entries the history has had."""
    attached: str = ""
    """The stream of the history's newest entry, if that is an attachment."""
    is_closed: bool = False
    epoch: int = 0
    """How many homes the session has had before this one."""

    def is_open(self, now: float, ttl: float, principal: str | None = None) -> bool:
        """Return whether the session is open, to `principal` or with None to anybody."""
        session = self.session
        is_theirs = principal is None or session.principal == principal
        return is_theirs and not self.is_closed and now < min(session.last_seen + ttl, session.ends)

    def use(self, now: float, node: str = "", requests: int = 0) -> None:
        """Record that the session is used."""
        session = self.session
        self.session = replace(
            session,
            last_seen=max(session.last_seen, now),
            node=node or session.node,
            requests=session.requests + requests,
        )

    def close(self) -> tuple[Session, set[str]]:
        """End the session; return it, and the nodes that run its calls."""
        self.is_closed = True
        return self.session, {request.node for request in self.in_flight.values()}

    # -- requests in flight --------------------------------------------------------------------------

    def enter(
        self, node: str, requests: Sequence[InFlightRequest], bodies: Mapping[RequestId, int], now: float
    ) -> Entered:
        """Admit a POST, and register its requests unless one of them is in flight."""
        self._drop_old(now)
        self.use(now, node, len(requests))
        running = tuple(match for request in requests if (match := self._duplicate_of(request)) is not None)
        cancelled = frozenset(request.request_id for request in requests if request.request_id in self.cancels)
        for request in requests if not running else ():
            self.cancels.pop(request.request_id, None)
            self.in_flight[request.request_id] = replace(request, started=now, body=b"")
            if request.request_id in bodies:
                self.body_parts[request.request_id] = bodies[request.request_id]
        return Entered(self.session, running, cancelled)

    def withdraw(self, requests: Sequence[InFlightRequest]) -> None:
        """Remove requests that shall not run."""
        for request in requests:
            if (current := self.in_flight.get(request.request_id)) is not None and current.stream == request.stream:
                del self.in_flight[request.request_id]
                self.body_parts.pop(request.request_id, None)

    def leave(self, endings: Endings, stream: str, now: float) -> list[HistoryEntry]:
        """Remove requests that ended, of one stream or with "" of any; return their entries in the history."""
        self._drop_old(now)
        left = [self.in_flight[item] for item in endings if item in self.in_flight]
        left = [request for request in left if stream in ("", request.stream)]
        for request in left:
            del self.in_flight[request.request_id]
            self.body_parts.pop(request.request_id, None)
            self.ended[request.request_id] = now
        errors = sum(endings[request.request_id].is_error for request in left)
        self.session = replace(self.session, errors=self.session.errors + errors)
        return [ended_entry(request, endings[request.request_id], now) for request in left]

    def take_over(self, stream: str, node: str) -> list[InFlightRequest]:
        """Make a node the one that runs a stream's calls; return these requests as they were."""
        claimed = [request for request in self.in_flight.values() if request.stream == stream]
        self.in_flight |= {request.request_id: replace(request, node=node) for request in claimed}
        return claimed

    def cancel(self, request_id: RequestId, now: float) -> InFlightRequest | None:
        """Return the request in flight, or store the cancellation of one that may still arrive."""
        self._drop_old(now)
        request = self.in_flight.get(request_id)
        if request is None and request_id not in self.ended and len(self.cancels) < MAX_CANCELS:
            self.cancels[request_id] = now
        return request

    def node_of(self, stream: str) -> str | None:
        """Return the node that runs the calls of a stream."""
        return next((request.node for request in self.in_flight.values() if request.stream == stream), None)

    def number_entries(self, entries: Sequence[HistoryEntry]) -> list[NumberedEntry]:
        """Return new entries of the history with their numbers; a repeated attachment replaces the first."""
        numbered = []
        for entry in entries:
            is_attachment = entry.what is HistoryEvent.ATTACHED
            if not (is_attachment and self.attached == entry.stream):
                self.entries += 1
            self.attached = entry.stream if is_attachment else ""
            numbered.append((self.entries, entry))
        return numbered

    def _duplicate_of(self, request: InFlightRequest) -> InFlightRequest | None:
        """Return the request in flight that has the same idempotency key or, failing that, the same id."""
        keyed = (item for item in self.in_flight.values() if is_keyed(item.stream) and item.stream == request.stream)
        return next(keyed, self.in_flight.get(request.request_id))

    def _drop_old(self, now: float) -> None:
        """Forget early cancellations without a request, and requests that ended a while ago."""
        for times in (self.cancels, self.ended):
            for request_id in [item for item, at in times.items() if at + CANCEL_KEEP_SECONDS < now]:
                del times[request_id]


def session_pk(key: str) -> str:
    """Return the partition of a session's items."""
    return f"session#{key}"


def record_address(key: str) -> Address:
    """Return the address of a session's record."""
    return Address(session_pk(key), "record")


def shard_name(shard: int) -> str:
    """Return the name of a partition of the listing."""
    return f"sessions#{shard}"


def record_kind(key: str, ttl: float) -> Kind[SessionRecord]:
    """Return how a session's record is stored; `ttl` is how long an unused session lives."""

    def encode(record: SessionRecord) -> Item:
        session = record.session
        expires = expiry(min(session.last_seen + ttl, session.ends))
        if record.is_closed:
            emptied = {name: value for name, value in _encode_session(session).items() if name in _OF_CLOSED}
            return {"d": dumps({**emptied, "closed": True}), **expires}
        content = _encode(record)
        if len(content) > _MAX_RECORD_BYTES:
            raise BackendError("the session has too many requests in flight for an item of DynamoDB")
        return {
            "d": content,
            **expires,
            "shard": shard_name(sum(key.encode()) % SHARDS),
            "created": milliseconds(session.created),
        }

    return Kind(partial(_decode, key), encode)


def _encode(record: SessionRecord) -> bytes:
    stored: dict[str, Any] = _encode_session(record.session)
    if record.in_flight:
        stored["in_flight"] = {
            encode_id(request_id).decode(): [
                request.node,
                request.stream,
                milliseconds(request.started),
                request.digest.hex(),
                request.safe,
                request.operation.encode(errors="replace").decode(),
                record.body_parts.get(request_id, 0),
            ]
            for request_id, request in record.in_flight.items()
        }
    for name, times in (("cancels", record.cancels), ("ended", record.ended)):
        if times:
            stored[name] = {encode_id(request_id).decode(): milliseconds(at) for request_id, at in times.items()}
    if record.epoch:
        stored["epoch"] = record.epoch
    return dumps({**stored, "entries": record.entries, "attached": record.attached})


def _encode_session(session: Session) -> dict[str, Any]:
    members = {name: value for name, value in asdict(session).items() if name not in _COUNTED_BY_LISTINGS}
    return members | {name: milliseconds(members[name]) for name in _TIMES}


@strict
def _decode(key: str, item: Item) -> SessionRecord:
    stored = orjson.loads(item["d"])
    stored |= {name: seconds(stored[name]) for name in _TIMES}
    record = SessionRecord(Session(key=key, **validated_members(stored)), is_closed=bool(stored.get("closed")))
    for raw_id, fields in stored.get("in_flight", {}).items():
        request = _decode_request(decode_id(raw_id.encode()), fields)
        record.in_flight[request.request_id] = request
        if fields[-1]:
            record.body_parts[request.request_id] = count_of(fields[-1], 1, _MAX_BODY_PARTS)
    record.cancels, record.ended = _decode_times(stored.get("cancels")), _decode_times(stored.get("ended"))
    record.epoch = count_of(stored.get("epoch", 0))
    record.entries, record.attached = count_of(stored.get("entries", 0)), str(stored.get("attached", ""))
    return record


def _decode_request(request_id: RequestId, fields: Sequence[Any]) -> InFlightRequest:
    node, stream, started, digest, safe, operation, _ = fields
    return InFlightRequest(
        request_id=request_id,
        node=name_of(node, 1),
        stream=name_of(stream, 1),
        started=seconds(started),
        digest=bytes.fromhex(digest),
        safe=safe is True,
        operation=str(operation),
    )


def _decode_times(times: Any) -> dict[RequestId, float]:
    return {decode_id(raw.encode()): seconds(at) for raw, at in (times or {}).items()}
