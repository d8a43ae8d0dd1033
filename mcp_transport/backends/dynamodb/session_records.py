"""Reads and changes the records of sessions, and writes their histories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

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
)
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.items import Item, expiry
from mcp_transport.backends.dynamodb.request_bodies import RequestBodies
from mcp_transport.backends.dynamodb.session_record import (
    NumberedEntry,
    SessionRecord,
    record_address,
    record_kind,
    session_pk,
)
from mcp_transport.backends.dynamodb.versioned import Draft, Kind, VersionedItems
from mcp_transport.domain.history import Ending, Endings, Failure, HistoryEntry, HistoryEvent
from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import log_failure

__all__ = ["HISTORY_PREFIX", "SessionRecords", "decode_entry"]

_R = TypeVar("_R")

HISTORY_PREFIX: Final = "history#"


class SessionRecords:
    """The records of all sessions; a session that has ended has none."""

    def __init__(self, client: DynamoClient, policy: Policy, items: VersionedItems) -> None:
        self._client, self._policy, self._items = client, policy, items
        self.bodies = RequestBodies(client)

    def kind(self, key: str) -> Kind[SessionRecord]:
        """Return how a record is stored."""
        return record_kind(key, self._policy.session_ttl)

    async def read(self, key: str) -> SessionRecord | None:
        """Return the record of a live session. Raises: BackendError, Unreadable."""
        item = await self._client.get(record_address(key))
        record = self.kind(key).decode(item) if item is not None else None
        return record if record is not None and self._is_open(record, None) else None

    async def change(
        self, key: str, change: Callable[[SessionRecord, float], _R], *, principal: str | None = None
    ) -> _R | None:
        """Apply a change, which gets the record and the time, to a live session; return None for another one.

        With a `principal`, only to a session that is theirs. Raises: BackendError, Unreadable.
        """

        def apply(draft: Draft[SessionRecord]) -> _R | None:
            if draft.value is None or not self._is_open(draft.value, principal):
                return None
            return change(draft.value, self._client.now())

        return await self._items.modify(record_address(key), self.kind(key), apply)

    async def leave(self, key: str, endings: Endings, stream: str) -> None:
        """Remove requests that ended, and record how. Raises: BackendError, Unreadable."""

        def change(record: SessionRecord, now: float) -> tuple[list[NumberedEntry], bool]:
            had_bodies = any(request_id in record.body_parts for request_id in endings)
            return record.number_entries(record.leave(endings, stream, now)), had_bodies

        numbered, had_bodies = await self.change(key, change) or ((), False)
        await self.write_history(key, numbered)
        if had_bodies and stream:
            await self.bodies.delete(key, stream)

    def _is_open(self, record: SessionRecord, principal: str | None) -> bool:
        return record.is_open(self._client.now(), self._policy.session_ttl, principal)

    # -- the history, a ring of items ----------------------------------------------------------------

    async def write_history(self, key: str, numbered: Sequence[NumberedEntry]) -> None:
        """Store entries of the history; log a failure, since the request itself has succeeded."""
        limit, pk = self._policy.session_history, session_pk(key)
        expires = expiry(self._client.now() + self._policy.session_max_age)
        items = [
            {"pk": pk, "sk": f"{HISTORY_PREFIX}{number % limit:04d}", "n": number, **_encode(entry), **expires}
            for number, entry in numbered[-limit:]
            if limit
        ]
        try:
            await self._client.write_each(items)
        except BackendError as error:
            log_failure("the history of a session cannot be written", error)

    async def history(self, key: str) -> tuple[HistoryEntry, ...]:
        """Return the history of a live session, newest first. Raises: BackendError, Unreadable."""
        record = await self.read(key)
        if record is None:
            return ()
        items = await self._client.query(session_pk(key), HISTORY_PREFIX, f"{HISTORY_PREFIX}~")
        oldest = record.entries - self._policy.session_history
        numbered = each("an entry of a session's history", items, decode_entry)
        newest_first = sorted((item for item in numbered if item[0] > oldest), key=lambda item: -item[0])
        return tuple(entry for _, entry in newest_first)


def _encode(entry: HistoryEntry) -> Item:
    request_id = None if entry.request_id is None else encode_id(entry.request_id).decode()
    operation = entry.operation.encode(errors="replace").decode()
    times = milliseconds(entry.when), milliseconds(entry.seconds)
    # A failure has an attribute of its own, which the previous release ignores.
    failure = {} if entry.failure is None else {"f": encode_failure(entry.failure)}
    return {"d": dumps([entry.what, times, entry.node, entry.stream, operation, request_id, entry.ending]), **failure}


def decode_entry(item: Item) -> tuple[int, HistoryEntry]:
    """Return an entry of a history with its number. Raises: any exception for an unreadable one."""
    what, (when, duration), node, stream, operation, request_id, ending = orjson.loads(item["d"])
    members: dict[str, Any] = {"node": str(node), "stream": str(stream), "operation": str(operation)}
    entry = HistoryEntry(
        when=seconds(when),
        what=HistoryEvent(what),
        request_id=None if request_id is None else decode_id(request_id.encode()),
        ending=None if ending is None else Ending(ending),
        seconds=seconds(duration),
        failure=_failure(item, ending),
        **members,
    )
    return int(item["n"]), entry


def _failure(item: Item, ending: Any) -> Failure | None:
    """Return the failure of an entry; None without one that can be read."""
    if ending is None or "f" not in item:
        return None
    [*failure] = each("the failure of a request", [item["f"]], lambda raw: decode_failure(raw, Ending(ending)))
    return failure[0] if failure else None
