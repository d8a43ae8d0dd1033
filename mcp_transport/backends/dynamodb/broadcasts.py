"""The stored broadcasts, for sessions that no node holds, under increasing numbers."""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from typing import Final

from mcp_transport.backends.codec import each, milliseconds, strict
from mcp_transport.backends.contracts import MAX_BROADCASTS
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.items import EXPIRES, VERSION, Address, Item, count_of
from mcp_transport.backends.dynamodb.writes import ABSENT, Conflict, Put
from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.supervision import log_failure

__all__ = ["BroadcastLog", "next_number"]

_BROADCASTS: Final = "broadcasts"

# It sorts before all numbers.
_COUNTER: Final = Address(_BROADCASTS, "#")

# The digits of a time until the year 2286: after a later one, every new broadcast would count as delivered.
_NUMBER: Final = re.compile(r"00\d{13}-\d{5,9}", re.ASCII)
_LAST: Final = "9"

# How often a broadcast is numbered again after that of another process; the pauses are random and add up to seconds.
_ATTEMPTS: Final = 30
_MAX_PAUSE_SECONDS: Final = 0.25

# Broadcasts beyond the limit are deleted after each so many.
_TRIM_AFTER: Final = 100

# How long the last number is stored after all broadcasts: until the time alone is certainly above it.
_COUNTER_SECONDS: Final = 86_400

_MAX_VERSION: Final = 2**53


class BroadcastLog:
    """The broadcasts of the last `keep` seconds.

    A transaction writes a broadcast together with the last number. So a broadcast is visible once all earlier ones
    are, and who has read up to a number has missed nothing before it.
    """

    def __init__(self, client: DynamoClient, keep: float) -> None:
        self._client, self._keep = client, keep
        # The broadcasts of one process would only be in each other's way.
        self._locks = dict[asyncio.AbstractEventLoop, asyncio.Lock]()

    async def add(self, message: Broadcast) -> str:
        """Store a broadcast, and return its number. Raises: BackendError."""
        async with self._lock():
            for attempt in range(_ATTEMPTS):
                version, count, last = await self._counter()
                now = self._client.now()
                number = next_number(last, now)
                counter = {**_COUNTER._asdict(), VERSION: 1 + secrets.randbelow(_MAX_VERSION)}
                counter |= {"last": number, "count": count + 1, EXPIRES: int(now + self._keep + _COUNTER_SECONDS)}
                item = {**Address(_BROADCASTS, number)._asdict(), "method": message.method, "uri": message.uri}
                item[EXPIRES] = int(now + self._keep) + 1
                try:
                    await self._client.transact([Put(counter, version), Put(item, ABSENT)])
                except Conflict:
                    await asyncio.sleep(random.uniform(0, min(_MAX_PAUSE_SECONDS, 0.01 * 2**attempt)))  # noqa: S311
                else:
                    break
            else:
                raise BackendError("too many nodes broadcast at the same time")
            if (count + 1) % _TRIM_AFTER == 0:
                await self._trim()
        return number

    async def after(self, number: str) -> tuple[Broadcast, ...]:
        """Return the stored broadcasts with a number above `number`, in order. Raises: BackendError."""
        low = max(f"{number}\0", self._oldest())
        items = await self._client.query(_BROADCASTS, low, _LAST)
        return tuple(each("a broadcast", items, _decode)[-MAX_BROADCASTS:])

    async def last(self) -> str:
        """Return the number of the newest broadcast, or an empty string if there is none. Raises: BackendError."""
        _, _, last = await self._counter()
        return last

    async def _counter(self) -> tuple[int | None, int, str]:
        """Return the counter's version for a condition, how many were numbered, and the last number."""
        version: int | None = None
        try:
            if (item := await self._client.get(_COUNTER)) is not None:
                return _decode_counter(item)
            version = ABSENT
        except Unreadable as error:
            log_failure("the number of the last broadcast cannot be read", error)
        items = await self._client.query(_BROADCASTS, "0", _LAST, names=("sk",))
        return version, 0, max((item["sk"] for item in items if _NUMBER.fullmatch(item["sk"])), default="")

    async def _trim(self) -> None:
        """Delete broadcasts beyond the limit; DynamoDB deletes expired ones late. Raises: BackendError."""
        items = await self._client.query(_BROADCASTS, "0", _LAST, names=("sk",), consistent=False)
        numbers, oldest = [item["sk"] for item in items], self._oldest()
        expired = [number for number in numbers if number < oldest]
        beyond = numbers[len(expired) : -MAX_BROADCASTS] if len(numbers) > MAX_BROADCASTS else []
        await self._client.write_each(deletes=[Address(_BROADCASTS, number) for number in expired + beyond])

    def _oldest(self) -> str:
        return _number(max(0, milliseconds(self._client.now() - self._keep)), 0)

    def _lock(self) -> asyncio.Lock:
        """Return the lock of the running loop; a process may have several loops."""
        loop = asyncio.get_running_loop()
        if (lock := self._locks.get(loop)) is None:
            self._locks = {each: lock for each, lock in self._locks.items() if not each.is_closed()}
            lock = self._locks[loop] = asyncio.Lock()
        return lock


def next_number(last: str, now: float) -> str:
    """Return a number above `last` (empty for none), by the store's time if that is later."""
    time, _, count = last.partition("-")
    if last and int(time) >= milliseconds(now):
        return _number(int(time), int(count) + 1)
    return _number(milliseconds(now), 0)


def _number(time: int, count: int) -> str:
    return f"{time:015d}-{count:05d}"


@strict
def _decode_counter(item: Item) -> tuple[int, int, str]:
    """Raises: Unreadable."""
    version, count, last = count_of(item[VERSION], 1), count_of(item["count"]), item["last"]
    if not _NUMBER.fullmatch(last):
        raise ValueError("not the number of a broadcast")
    return version, count, last


def _decode(item: Item) -> Broadcast:
    """Raises: any exception for an unreadable item."""
    number, method, uri = item["sk"], item["method"], item["uri"]
    if not (_NUMBER.fullmatch(number) and isinstance(method, str) and isinstance(uri, str)):
        raise ValueError("not a broadcast")
    return Broadcast(method, uri, number)
