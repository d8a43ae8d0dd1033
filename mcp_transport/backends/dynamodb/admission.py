"""The sessions of each caller, which are limited in number: entries, and a counter that changes with them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

from mcp_transport.backends.codec import each, milliseconds
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.items import VERSION, Address, Item, digest, expiry, name_of
from mcp_transport.backends.dynamodb.session_record import SessionRecord, record_address, record_kind
from mcp_transport.backends.dynamodb.versioned import pause_after
from mcp_transport.backends.dynamodb.writes import ABSENT, Add, Conflict, Delete, Put, Write
from mcp_transport.backends.results import NoRoom
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session
from mcp_transport.exceptions import BackendError

__all__ = ["SessionAdmission"]

# How many sessions are read at a time in search of an idle one, and after how many searches there is none.
_SEARCHED: Final = 32
_MAX_SEARCHES: Final = 8
# The most sessions that a new one evicts, if the limit was lowered.
_MAX_EVICTED: Final = 32
# How often a step is repeated that other processes disturb.
_MAX_CONFLICTS: Final = 30

# The positions in the transaction that opens a session.
_COUNTER, _ENTRY, _RECORD = range(3)


class SessionAdmission:
    """Opens sessions within the limit, whatever other nodes do at the same time."""

    def __init__(self, client: DynamoClient, policy: Policy) -> None:
        self._client, self._policy, self._limit = client, policy, policy.max_sessions_per_principal
        # One at a time for each caller and loop: they change the same counter.
        self._locks = WeakValueDictionary[tuple[asyncio.AbstractEventLoop, str], asyncio.Lock]()

    async def open(self, session: Session) -> tuple[str, ...]:
        """Store a new session; return the keys of the idle ones that it evicts. Raises: NoRoom, BackendError."""
        lock = self._locks.setdefault((asyncio.get_running_loop(), session.caller), asyncio.Lock())
        async with lock:
            return await self._open(session)

    async def _open(self, session: Session) -> tuple[str, ...]:
        entry, record = self._new_items(session)
        for conflicts in range(_MAX_CONFLICTS):
            admitted = Add(_counter(session.caller), VERSION, 1, self._limit, expiry(session.ends))
            try:
                await self._client.transact([admitted, entry, record])
                return ()
            except Conflict as conflict:
                if _RECORD in conflict.positions:
                    return ()  # it exists already
                is_full = _COUNTER in conflict.positions
            if is_full:
                evicted = await self._replace_idle(session, entry, record)
                if evicted is not None:
                    return evicted
            else:
                await asyncio.sleep(pause_after(conflicts))
        raise BackendError("too many processes open sessions for the same caller")

    async def remove(self, session: Session) -> None:
        """Remove a session that has ended from its caller's. Raises: BackendError."""
        counter, entry = _counter(session.caller), _entry_address(session)
        for conflicts in range(_MAX_CONFLICTS):
            try:
                return await self._client.transact([Delete(entry), Add(counter, VERSION, -1)])
            except Conflict as conflict:
                if conflict.positions:
                    # It was evicted, or the counter is no number: the next search for room corrects it.
                    return await self._client.write_each(deletes=[] if 0 in conflict.positions else [entry])
            await asyncio.sleep(pause_after(conflicts))

    def _new_items(self, session: Session) -> tuple[Put, Put]:
        """Return the writes of a session's entry and record."""
        kind = record_kind(session.key, self._policy.session_ttl)
        entry = {**_entry_address(session)._asdict(), "key": session.key, **expiry(session.ends)}
        record = {**kind.encode(SessionRecord(session)), **record_address(session.key)._asdict(), VERSION: 1}
        return Put(entry), Put(record, ABSENT)

    async def _replace_idle(self, session: Session, entry: Put, record: Put) -> tuple[str, ...] | None:
        """Open a session in place of idle ones; return None if there is room now. Raises: NoRoom, BackendError."""
        pk, counter = _pk(session.caller), _counter(session.caller)
        stored = await self._client.get(counter) or {VERSION: 0}
        count = stored.get(VERSION)
        entries = each("an entry of a caller", await self._client.query(pk, "0", "~"), _decode_entry)
        if type(count) is not int or len(entries) != count:  # DynamoDB has deleted expired entries
            await self._correct(counter, count, len(entries), session)
            return None
        if count < self._limit:
            return None
        keys = dict(entries)
        excess, idle = min(count + 1 - self._limit, _MAX_EVICTED), list[tuple[float, Address]]()
        for part in _parts(list(keys)):
            records = await self._records([keys[address] for address in part])
            ended = [address for address in part if keys[address] not in records]
            if ended:
                await self._try([Add(counter, VERSION, -len(ended)), *map(Delete, ended)])
                return None
            current = ((records[keys[address]], address) for address in part)
            idle += [(record.session.last_seen, address) for record, address in current if not record.in_flight]
            if len(idle) >= excess:
                break
        if len(idle) < excess:
            raise NoRoom
        leaving = [address for _, address in sorted(idle)[:excess]]
        writes: list[Write] = [Add(counter, VERSION, 1 - excess), entry, record, *map(Delete, leaving)]
        return tuple(keys[address] for address in leaving) if await self._try(writes) else None

    async def _records(self, keys: Sequence[str]) -> Mapping[str, SessionRecord]:
        """Return the records of sessions that have not ended; an unreadable one has."""
        items = await self._client.get_each(map(record_address, keys))
        now, ttl, records = self._client.now(), self._policy.session_ttl, {}
        for key in keys:
            item = items.get(record_address(key))
            for record in each("a session", [item] if item else [], record_kind(key, ttl).decode):
                if record.is_open(now, ttl):
                    records[key] = record
        return records

    async def _correct(self, counter: Address, count: Any, entries: int, session: Session) -> None:
        """Set the counter to the number of entries, if it still is `count`, or is none."""
        item = {**counter._asdict(), VERSION: entries, **expiry(session.ends)}
        await self._try([Put(item, count if type(count) is int else None)])

    async def _try(self, writes: Sequence[Write]) -> bool:
        """Write, unless another process was faster; return whether it was written."""
        try:
            await self._client.transact(writes)
        except Conflict:
            await asyncio.sleep(pause_after(1))
            return False
        return True


def _parts(addresses: Sequence[Address]) -> Iterator[Sequence[Address]]:
    """Divide a caller's sessions, the oldest first, into as many groups as are searched."""
    for search in range(_MAX_SEARCHES):
        if part := addresses[search * _SEARCHED : (search + 1) * _SEARCHED]:
            yield part


def _decode_entry(item: Item) -> tuple[Address, str]:
    """Raises: any exception for an unreadable entry."""
    return Address(item["pk"], item["sk"]), name_of(item["key"])


def _pk(caller: str) -> str:
    return f"caller#{digest(caller)}"


def _counter(caller: str) -> Address:
    return Address(_pk(caller), "#")


def _entry_address(session: Session) -> Address:
    return Address(_pk(session.caller), f"{milliseconds(session.created):015d}#{session.key}")
