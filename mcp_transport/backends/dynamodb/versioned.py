"""Items that many change at once: group commit within a process, compare-and-set between processes.

Changes of one item that arrive while it is being written share the next write. A write holds only if the stored
version is the one that the changes were applied to; otherwise they are applied again, to what another process stored.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import SystemRandom
from typing import Any, Final, Generic, TypeVar

from mcp_transport.backends.codec import strict
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.items import VERSION, Address, Item, count_of
from mcp_transport.backends.dynamodb.writes import ABSENT, Conflict, Put, Write, size_of
from mcp_transport.exceptions import BackendError

__all__ = ["Draft", "Kind", "VersionedItems", "pause_after"]

_T = TypeVar("_T")
_R = TypeVar("_R")

# Each conflict means that another process was faster; pauses grow to the largest, so that all get their turn.
_MAX_CONFLICTS: Final = 30
_FIRST_PAUSE_SECONDS: Final = 0.005
_MAX_PAUSE_SECONDS: Final = 0.25

# How many items a process remembers as it has left them: their next write needs no read.
_MAX_REMEMBERED: Final = 1000
# Larger ones are read again.
_MAX_REMEMBERED_BYTES: Final = 16 * 1024

# A transaction has at most 100 writes, of 4 MiB.
_MAX_WRITES: Final = 25
_MAX_WRITTEN_BYTES: Final = 512 * 1024

_random = SystemRandom()

_Queue = tuple[asyncio.AbstractEventLoop, Address]


@dataclass(slots=True)
class Draft(Generic[_T]):
    """What an item will contain: a change sets `value`, or changes it in place; None while there is no item."""

    value: _T | None
    writes: list[Write] = field(default_factory=list)
    """Other writes that must happen in the same step."""

    @property
    def has_room(self) -> bool:
        """Return whether the transaction can take the writes of one more change."""
        return len(self.writes) < _MAX_WRITES and sum(map(size_of, self.writes)) < _MAX_WRITTEN_BYTES


@dataclass(frozen=True, slots=True)
class Kind(Generic[_T]):
    """How items of one kind are stored."""

    decode: Callable[[Item], _T]
    """Raises: Unreadable."""
    encode: Callable[[_T], Item]
    """Returns all attributes but the key and the version; `d` has the content."""


@dataclass(slots=True)
class _Change:
    apply: Callable[[Draft[Any]], Any]
    outcome: asyncio.Future[Any]


class VersionedItems:
    """Applies changes to items."""

    def __init__(self, client: DynamoClient) -> None:
        self._client = client
        self._waiting: dict[_Queue, list[_Change]] = {}
        self._tasks = set[asyncio.Task[None]]()
        self._remembered: dict[Address, Item] = {}

    async def modify(self, address: Address, kind: Kind[_T], change: Callable[[Draft[_T]], _R]) -> _R:
        """Apply a change, and return its result once it is stored. A change that raises has changed nothing.

        A change may be applied several times, each time to a new draft. Raises: BackendError, Unreadable, and the
        exceptions of the change.
        """
        loop = asyncio.get_running_loop()
        queue, mine = (loop, address), _Change(change, loop.create_future())
        if queue in self._waiting:
            self._waiting[queue].append(mine)
        else:
            self._waiting[queue] = [mine]
            task = loop.create_task(self._commit_all(queue, kind))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        result: _R = await mine.outcome
        return result

    async def peek(self, address: Address, kind: Kind[_T]) -> _T | None:
        """Return an item as this process has left it or, if that is unknown, as it is stored.

        Another process may have changed it: only a change can tell. Raises: BackendError, Unreadable.
        """
        stored = self._remembered.get(address) or await self._client.get(address)
        return kind.decode(stored) if stored is not None else None

    async def flush(self) -> None:
        """Wait until no cancelled change can still be stored."""
        loop = asyncio.get_running_loop()
        while tasks := [task for task in list(self._tasks) if task.get_loop() is loop]:
            await asyncio.wait(tasks)

    async def _commit_all(self, queue: _Queue, kind: Kind[Any]) -> None:
        """Commit the changes of an item until there are no more."""
        try:
            while waiting := self._waiting[queue]:
                self._waiting[queue] = []
                changes = [change for change in waiting if not change.outcome.done()]
                with _failing(changes):
                    left = await self._commit(queue[1], kind, changes)
                    self._waiting[queue][:0] = left
        finally:
            _cancel(self._waiting.pop(queue))

    async def _commit(self, address: Address, kind: Kind[Any], changes: list[_Change]) -> list[_Change]:
        """Apply changes and store the result in one write; return those that did not fit.

        Raises: BackendError, Unreadable.
        """
        stored = self._remembered.pop(address, None)
        is_remembered = stored is not None
        if stored is None:
            stored = await self._client.get(address)
        for attempt in range(_MAX_CONFLICTS):
            draft, new, outcomes = _apply_all(changes, kind, stored)
            if not draft.writes and new.items() <= (stored or {}).items():
                if is_remembered:  # it may be old, and the changes only seem to have no effect
                    stored, is_remembered = await self._client.get(address), False
                    continue
            else:
                try:
                    stored = await self._store(address, stored, new, draft.writes)
                except Conflict as conflict:
                    stored, is_remembered = conflict.current, False
                    await asyncio.sleep(pause_after(attempt))
                    continue
            self._remember(address, stored)
            for settle in outcomes:
                settle()
            return changes[len(outcomes) :]
        raise BackendError("too many processes change the same item of the DynamoDB table")

    async def _store(self, address: Address, stored: Item | None, new: Item, writes: list[Write]) -> Item:
        """Store an item in place of what is stored. Raises: Conflict with the current item, BackendError."""
        item = {**new, **address._asdict(), VERSION: secrets.randbits(62) + 1}
        put = Put(item, ABSENT if stored is None else _version_of(stored))
        try:
            await (self._client.transact([put, *writes]) if writes else self._client.write(put))
        except Conflict as conflict:
            current = conflict.current or await self._client.get(address)
            # Otherwise botocore has sent the write again, since the first answer was lost.
            if (current or {}).get(VERSION) != item[VERSION]:
                raise Conflict(current) from conflict
        return item

    def _remember(self, address: Address, item: Item | None) -> None:
        if item is None or len(item.get("d", b"")) > _MAX_REMEMBERED_BYTES:
            return
        while len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)), None)
        self._remembered[address] = item


@strict
def _version_of(item: Item) -> int:
    return count_of(item[VERSION], 1)


def _apply_all(
    changes: Sequence[_Change], kind: Kind[Any], stored: Item | None
) -> tuple[Draft[Any], Item, list[Callable[[], None]]]:
    """Apply as many of the first changes as fit into the item; one that does not fit at all fails by itself.

    Return the draft, the new attributes, and a function for each of these changes that gives it its outcome.
    Raises: Unreadable.
    """
    while True:
        draft = Draft(kind.decode(stored) if stored is not None else None)
        outcomes = [_apply(change, draft) for change in changes if draft.has_room]
        try:
            return draft, kind.encode(draft.value) if draft.value is not None else {}, outcomes
        except BackendError as error:
            if len(outcomes) <= 1:
                return Draft(None), {}, [partial(_fail, change, error) for change in changes[:1]]
            changes = changes[: len(outcomes) // 2]


def _apply(change: _Change, draft: Draft[Any]) -> Callable[[], None]:
    """Apply a change; return a function that gives its result, or its exception, to the caller."""
    try:
        result = change.apply(draft)
    except Exception as error:
        return partial(_fail, change, error)
    return partial(_succeed, change, result)


def _succeed(change: _Change, result: Any) -> None:
    if not change.outcome.done():
        change.outcome.set_result(result)


def _fail(change: _Change, error: Exception) -> None:
    if not change.outcome.done():
        change.outcome.set_exception(error)


@contextmanager
def _failing(changes: Iterable[_Change]) -> Iterator[None]:
    """Give an exception of the block to all changes."""
    try:
        yield
    except Exception as error:
        for change in changes:
            _fail(change, error)
    except BaseException:
        _cancel(changes)
        raise


def _cancel(changes: Iterable[_Change]) -> None:
    for change in changes:
        change.outcome.cancel()


def pause_after(conflicts: int) -> float:
    """Return how long to wait after so many conflicts: a random time, so that the others get their turn."""
    return _random.uniform(0, min(_MAX_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**conflicts))
