"""The store of sessions, their requests in flight, and the state that tools keep in them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from mcp_transport.backends.codec import each, strict
from mcp_transport.backends.contracts import SessionStore
from mcp_transport.backends.dynamodb.admission import SessionAdmission
from mcp_transport.backends.dynamodb.client import MAX_ITEM_BYTES, DynamoClient
from mcp_transport.backends.dynamodb.items import VERSION, Address, Item, digest, expiry
from mcp_transport.backends.dynamodb.session_record import NumberedEntry, SessionRecord, record_address, session_pk
from mcp_transport.backends.dynamodb.session_records import SessionRecords
from mcp_transport.backends.dynamodb.stream_state import STREAM_PREFIX, StreamState, stream_address, stream_kind
from mcp_transport.backends.dynamodb.subscription_set import (
    Subscriptions,
    subscriptions_address,
    subscriptions_kind,
)
from mcp_transport.backends.dynamodb.versioned import Draft, VersionedItems
from mcp_transport.backends.dynamodb.writes import Conflict, Delete, Put, expected_version
from mcp_transport.backends.membership import RunningStreams
from mcp_transport.backends.results import Closing, Entered
from mcp_transport.backends.subscriptions import changed_uris
from mcp_transport.domain.history import Endings, HistoryEntry
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import InFlightRequest, Session, short_id
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.supervision import log_failure

__all__ = ["MAX_STATE_BYTES", "DynamoSessionStore"]

MAX_STATE_BYTES: Final = MAX_ITEM_BYTES
"""The largest value that a tool can store in a session."""

_STATE: Final = "state#"

# A keep-alive extends its session's life so rarely that most of them cost a read and no write.
_TOUCH_SHARE: Final = 0.01


class DynamoSessionStore(SessionStore):
    """Opens, enters, changes and closes sessions."""

    shares_sessions = True

    def __init__(
        self,
        client: DynamoClient,
        policy: Policy,
        items: VersionedItems,
        records: SessionRecords,
        running: RunningStreams,
        wake: Callable[[], None],
    ) -> None:
        self._client, self._policy, self._items = client, policy, items
        self._records, self._running, self._wake = records, running, wake
        self._admission = SessionAdmission(client, policy)

    async def ping(self) -> None:
        await self._client.get(Address("ping", "ping"))

    async def open(self, session: Session) -> tuple[str, ...]:
        now = self._client.now()
        return await self._admission.open(
            replace(session, created=now, last_seen=now, ends=now + session.ends - session.created)
        )

    async def enter(
        self, key: str, principal: str, node: str, requests: Sequence[InFlightRequest] = ()
    ) -> Entered | None:
        bodies = await self._records.bodies.write(key, requests, self._client.now() + self._policy.session_max_age)
        entered = await self._records.change(
            key, lambda record, now: record.enter(node, requests, bodies, now), principal=principal
        )
        if entered is None:
            return None
        if requests and is_keyed(requests[0].stream):
            # Read now: a stream ends before its request leaves the record, so one that had left has an ended stream.
            state = await self._stream(key, requests[0].stream)
            if state is not None and state.stored_until is not None:
                await self._withdraw(key, requests, entered)
                return Entered(entered.session, ended_digest=state.digest)
        for request in requests if not entered.running else ():
            self._running[key, request.stream] = node
        if requests:
            self._wake()
        return entered

    async def _withdraw(self, key: str, requests: Sequence[InFlightRequest], entered: Entered) -> None:
        """Remove requests that were registered, but whose answer is stored."""
        if not entered.running:
            await self._records.change(key, lambda record, now: record.withdraw(requests))
            if any(request.body for request in requests):
                await self._records.bodies.delete(key, requests[0].stream)

    async def flush(self) -> None:
        await self._items.flush()
        await self._client.flush()

    async def leave(self, key: str, endings: Endings, *, stream: str = "") -> bool:
        self._running.pop((key, stream), None)
        _, state = await asyncio.gather(self._records.leave(key, endings, stream), self._stream(key, stream))
        return state is not None and state.held_by is not None

    async def cancel(self, key: str, principal: str, request_id: RequestId) -> InFlightRequest | None:
        try:
            return await self._records.change(
                key, lambda record, now: record.cancel(request_id, now), principal=principal
            )
        except Unreadable as error:
            _log_unreadable(key, error)
            return None

    async def history(self, key: str) -> tuple[HistoryEntry, ...]:
        return await self._records.history(key)

    async def note(self, key: str, principal: str, entry: HistoryEntry) -> None:
        def change(record: SessionRecord, now: float) -> list[NumberedEntry]:
            return record.number_entries([replace(entry, when=now)])

        numbered = await self._records.change(key, change, principal=principal)
        await self._records.write_history(key, numbered or ())

    async def update(self, key: str, **changes: Any) -> None:
        def change(record: SessionRecord, now: float) -> None:
            record.session = replace(record.session, **changes)

        await self._records.change(key, change)

    async def touch(self, key: str, stream: str = "") -> bool:
        def change(record: SessionRecord, now: float) -> bool:
            if now - record.session.last_seen >= self._policy.session_ttl * _TOUCH_SHARE:
                record.use(now)
            return True

        return await self._records.change(key, change) is True

    async def close(self, key: str, principal: str | None) -> Closing | None:
        closed = await self._records.change(key, lambda record, now: record.close(), principal=principal)
        return await self._closing(key, *closed, self._delete) if closed is not None else None

    async def give_up(self, key: str, epoch: int, region: str) -> Closing | None:
        """Close the copy of a session whose home is another region since an epoch, unless the copy is newer.

        Of what is stored beside the record, only unchanged streams are deleted, and the rest expires: another process
        may be copying the session here again. Raises: BackendError.
        """

        def change(record: SessionRecord, now: float) -> tuple[Session, set[str]] | None:
            is_newer = (record.epoch, record.session.region) >= (epoch, region)
            return None if is_newer else record.close()

        closed = await self._records.change(key, change)
        return await self._closing(key, *closed, self._delete_unchanged_streams) if closed is not None else None

    async def _closing(
        self, key: str, session: Session, nodes: set[str], delete: Callable[[list[Item]], Awaitable[None]]
    ) -> Closing:
        """Remove a closed session from all else, and `delete` its other items; return the nodes to tell."""
        self.forget(key)
        try:
            items = await self._client.query(session_pk(key), names=("pk", "sk", "d", VERSION))
            parts = [item for item in items if item["sk"] != record_address(key).sk]
            states = each("a session's stream", filter(_is_stream, parts), stream_kind.decode)
            await delete(parts)
            await self._admission.remove(session)
        except BackendError as error:  # it has ended all the same, and DynamoDB deletes the rest in time
            log_failure(f"not all of session {short_id(key)} can be deleted", error)
            states = []
        return Closing(session, frozenset(nodes | {state.holder for state in states if state.holder}))

    async def _delete(self, parts: list[Item]) -> None:
        await self._client.write_each(deletes=[Address(item["pk"], item["sk"]) for item in parts])

    async def _delete_unchanged_streams(self, parts: list[Item]) -> None:
        """Delete streams, so that nobody waits for what their nodes no longer write."""
        for item in filter(_is_stream, parts):
            with suppress(Conflict):
                await self._client.write(Delete(Address(item["pk"], item["sk"]), expected_version(item)))

    def forget(self, key: str) -> None:
        for item in [item for item in list(self._running) if item[0] == key]:
            self._running.pop(item, None)

    async def get(self, key: str) -> Session | None:
        record = await self._record(key)
        return record.session if record is not None else None

    async def in_flight(self, key: str) -> tuple[InFlightRequest, ...]:
        record = await self._record(key)
        return tuple(record.in_flight.values()) if record is not None else ()

    async def _record(self, key: str) -> SessionRecord | None:
        """Return the record of a live session; one that cannot be read is unknown."""
        try:
            return await self._records.read(key)
        except Unreadable as error:
            _log_unreadable(key, error)
            return None

    async def _stream(self, key: str, stream: str) -> StreamState | None:
        """Return the state of a stream that goes on, or ended a short time ago."""
        item = await self._client.get(stream_address(key, stream)) if stream else None
        state = stream_kind.decode(item) if item is not None else None
        return state if state is not None and state.is_stored(self._client.now()) else None

    # -- subscriptions, and the state of tools -------------------------------------------------------

    async def subscribe(self, key: str, uri: str, subscribed: bool, limit: int, max_bytes: int) -> bool:
        record = await self._records.read(key)
        if record is None:
            return True
        ends = record.session.ends

        def change(draft: Draft[Subscriptions]) -> bool:
            current = draft.value or Subscriptions(frozenset(), ends)
            changed = changed_uris(current.uris, uri, subscribed, limit, max_bytes)
            if changed is not None:
                draft.value = Subscriptions(changed, ends)
            return changed is not None

        return await self._items.modify(subscriptions_address(key), subscriptions_kind, change)

    async def subscriptions(self, key: str) -> frozenset[str]:
        record, item = await asyncio.gather(self._records.read(key), self._client.get(subscriptions_address(key)))
        return subscriptions_kind.decode(item).uris if record is not None and item is not None else frozenset()

    async def read_state(self, key: str) -> dict[str, bytes]:
        record, items = await asyncio.gather(
            self._records.read(key), self._client.query(session_pk(key), _STATE, f"{_STATE}~")
        )
        return dict(each("a value of a session's state", items, _decode_value)) if record is not None else {}

    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        if value is not None and len(value) > MAX_STATE_BYTES:
            size = len(value)
            raise BackendError(f"sessions in DynamoDB store values of at most {MAX_STATE_BYTES} bytes, got {size}")
        if (record := await self._records.read(key)) is None:
            return False
        address = Address(session_pk(key), f"{_STATE}{digest(name)}")
        item = {**address._asdict(), "name": name, "value": value, **expiry(record.session.ends)}
        try:
            former = await self._client.write(Delete(address) if value is None else Put(item), former=True)
        except Conflict:  # nothing to delete
            return False
        return former is not None


def _log_unreadable(key: str, error: Unreadable) -> None:
    """Log why a session counts as unknown from now on."""
    log_failure(f"session {short_id(key)} cannot be read, and is unknown", error)


@strict
def _decode_value(item: Item) -> tuple[str, bytes]:
    name, value = item["name"], item["value"]
    if not isinstance(name, str) or not isinstance(value, bytes):
        raise ValueError("not a value of a session's state")
    return name, value


def _is_stream(item: Item) -> bool:
    return str(item["sk"]).startswith(STREAM_PREFIX)
