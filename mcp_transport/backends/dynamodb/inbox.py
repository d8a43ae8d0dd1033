"""The inboxes of nodes: messages as items, which the receiver polls for.

A message of more than one item has its content in parts in a partition of its own. They are written first, so that a
receiver that reads the message has all of them, and polling never reads them in vain.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from mcp_transport.backends.codec import encode_message
from mcp_transport.backends.dynamodb.client import MAX_ITEM_BYTES, DynamoClient
from mcp_transport.backends.dynamodb.items import EXPIRES, Address, Item, from_attributes
from mcp_transport.backends.dynamodb.leases import KEEP_SECONDS, read_lease
from mcp_transport.backends.dynamodb.writes import Put
from mcp_transport.domain.node_messages import NodeMessage
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.supervision import log_failure, suppress_and_log

__all__ = ["Inbox", "Outbox", "partitions"]

FIRST_PAUSE_SECONDS: Final = 0.02
"""The first pause between two polls: a call on another node that is answered at once waits little longer."""

LAST_PAUSE_SECONDS: Final = 1.0
"""The pause while nothing arrives, doubled up to this: what an idle stream costs, and the delay of its next event."""

REPLY_SECONDS: Final = 2.0
"""How long a node polls often after a message to which another node replies: as long as the engine waits for it."""

# The size of an inbox, in messages and bytes. There is no count of what waits, which would cost a second write for
# each message: an inbox is full if its node has read so much without having emptied it. What waits for a node that
# reads nothing is bounded by the time until it is declared dead.
_MAX_MESSAGES: Final = 10_000
_MAX_BYTES: Final = 64 * 1024 * 1024

# The messages of one poll, 25 MiB at most.
_PAGE: Final = 100

# After so many bytes, other tasks run before the next message is delivered.
_BYTES_AT_A_TIME: Final = 1024 * 1024

# For so long, an eventually consistent read may return an item that was deleted; usually for less than a second.
_STALE_SECONDS: Final = 60.0


class Inbox:
    """The inbox of one node of this process."""

    def __init__(self, client: DynamoClient, node: str, expects_messages: Callable[[], bool]) -> None:
        self._client, self._node, self._expects_messages = client, node, expects_messages
        self._pk, self._parts_pk = partitions(node)
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        self._pause, self._polled = FIRST_PAUSE_SECONDS, self._loop.time()
        self._reply_until = self._polled
        self._has_more, self._backlog, self._backlog_bytes = False, 0, 0
        # By sort key: when messages were delivered, and what of them is to be deleted.
        self._delivered, self._undeleted = dict[str, float](), dict[str, list[Address]]()

    @property
    def is_full(self) -> bool:
        """Return whether more arrives than the node can read."""
        return self._backlog >= _MAX_MESSAGES or self._backlog_bytes >= _MAX_BYTES

    def wake(self) -> None:
        """Poll often again, from any thread: messages may follow soon."""
        self._pause = FIRST_PAUSE_SECONDS
        if not self._woken.is_set():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._woken.set)

    def expect_reply(self) -> None:
        """Poll often for a while, although the node may have no stream."""
        self._reply_until = self._loop.time() + REPLY_SECONDS
        self.wake()

    def _is_waiting(self) -> bool:
        return self._expects_messages() or self._loop.time() < self._reply_until

    async def read(self, seconds: float, receive: Callable[[bytes], None]) -> None:
        """Poll once, at most `seconds` from now; pass each message to `receive`, once. Raises: BackendError."""
        await self._sleep(self._loop.time() + seconds)
        self._polled = self._loop.time()
        # A poll with each heartbeat must not miss what is there, since the next one would be late. And a page of
        # messages that were deleted must not come again and again.
        consistent = self._has_more or not self._is_waiting()
        reply = await self._client.call(
            "query",
            TableName=self._client.table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": self._pk}},
            Limit=_PAGE,
            ConsistentRead=consistent,
        )
        self._has_more = "LastEvaluatedKey" in reply
        arrived = [raw for raw in reply["Items"] if raw["sk"]["S"] not in self._delivered]
        self._note_repeated([raw["sk"]["S"] for raw in reply["Items"]], consistent=consistent)
        if not self._has_more:
            self._backlog = self._backlog_bytes = 0
        try:
            await self._deliver(arrived, receive)
        finally:  # even if a message cannot be read now: those before it were delivered
            self._pause = FIRST_PAUSE_SECONDS if arrived else min(2 * self._pause, LAST_PAUSE_SECONDS)
        await self._delete()

    def _note_repeated(self, sort_keys: list[str], *, consistent: bool) -> None:
        """Delete what was delivered and is there again: botocore has sent its write twice, after a lost answer."""
        for sort_key in sort_keys:
            delivered = self._delivered.get(sort_key, self._polled)
            if (consistent and delivered < self._polled) or delivered < self._polled - _STALE_SECONDS / 2:
                self._undeleted.setdefault(sort_key, [Address(self._pk, sort_key)])

    async def _sleep(self, deadline: float) -> None:
        """Wait until the next poll is due."""
        due, was_waiting = deadline, self._is_waiting()
        if self._has_more:
            due = self._polled
        elif was_waiting:
            due = min(deadline, self._polled + self._pause)
        while (remaining := due - self._loop.time()) > 0:
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(remaining, LAST_PAUSE_SECONDS)):
                    await self._woken.wait()
            # Nobody wakes the inbox for a subscription without a session, which is noticed within the last pause.
            if (self._woken.is_set() or not was_waiting) and self._is_waiting():
                was_waiting, self._pause = True, FIRST_PAUSE_SECONDS
                due = min(due, self._loop.time() + FIRST_PAUSE_SECONDS)

    # -- messages ------------------------------------------------------------------------------------

    async def _deliver(self, arrived: list[Any], receive: Callable[[bytes], None]) -> None:
        size = 0
        for raw in arrived:
            sort_key = raw["sk"]["S"]
            message, addresses = await self._message(sort_key, raw)
            self._delivered[sort_key], self._undeleted[sort_key] = self._loop.time(), addresses
            self._backlog += 1
            if message is None:
                continue
            receive(message)
            self._backlog_bytes += len(message)
            if (size := size + len(message)) >= _BYTES_AT_A_TIME:
                size = 0
                await asyncio.sleep(0)

    async def _message(self, sort_key: str, raw: Mapping[str, Any]) -> tuple[bytes | None, list[Address]]:
        """Return a message, None for an unreadable one, and its items. Raises: BackendError."""
        head, parts = Address(self._pk, sort_key), list[Address]()
        message = None
        with suppress_and_log(f"a message to node {self._node} cannot be read"):
            item = from_attributes(raw)
            number, content = item.get("parts", 0), item.get("body", b"" if "parts" in item else None)
            if not isinstance(content, bytes) or number not in range(_MAX_BYTES // MAX_ITEM_BYTES + 1):
                raise Unreadable("not a message")
            parts = [_part(self._parts_pk, sort_key, position) for position in range(number)]
            if parts:
                stored = await self._client.get_each(parts)
                content = b"".join(stored[address]["body"] for address in parts)
            message = content
        return message, [head, *parts]

    async def _delete(self) -> None:
        """Delete what was delivered. Raises: BackendError; the next poll tries again."""
        if addresses := [address for each in self._undeleted.values() for address in each]:
            await self._client.write_each(deletes=addresses)
            self._undeleted.clear()
        oldest = self._loop.time() - _STALE_SECONDS
        while self._delivered and (first := next(iter(self._delivered.items())))[1] < oldest:
            del self._delivered[first[0]]


def partitions(node: str) -> tuple[str, str]:
    """Return the partitions of a node's inbox: that of messages, and that of their parts."""
    return f"inbox#{node}", f"parts#{node}"


def _part(pk: str, sort_key: str, position: int) -> Address:
    return Address(pk, f"{sort_key}#{position:05d}")


class Outbox:
    """Sends the messages of one process; those to one node have sort keys in the order in which they are sent."""

    def __init__(self, client: DynamoClient, lease_seconds: float) -> None:
        self._client, self._lease_seconds, self._last = client, lease_seconds, 0

    async def send(self, node: str, message: NodeMessage) -> bool:
        """Put a message into a node's inbox; return False for a node that no longer exists.

        The node's lease is read while the message is written: one round trip, and half of what a transaction costs.
        Raises: BackendError, also when the inbox is full.
        """
        head, *parts = self._items(node, encode_message(message))
        if parts:
            if not await self._accepts(node):
                return False
            await self._client.write_each(puts=parts)
        write = self._client.write(Put(head))
        _, accepts = await asyncio.gather(write, self._accepts_or_failure(node))
        if accepts is True:
            return True
        try:
            await self._client.write_each(deletes=[Address(item["pk"], item["sk"]) for item in (head, *parts)])
        except BackendError as error:  # it expires
            log_failure(f"a message to node {node} cannot be removed", error)
        if isinstance(accepts, BackendError):
            raise accepts
        return False

    async def _accepts(self, node: str) -> bool:
        """Return whether a node exists. Raises: BackendError if its inbox is full, or the store does not answer."""
        lease = await read_lease(self._client, node, self._lease_seconds)
        if lease is None or lease.is_swept:
            return False
        if lease.is_full:
            raise BackendError(f"the inbox of node {node} is full")
        return True

    async def _accepts_or_failure(self, node: str) -> bool | BackendError:
        try:
            return await self._accepts(node)
        except BackendError as error:
            return error

    def _items(self, node: str, content: bytes) -> list[Item]:
        """Return the items of a message: the one that is written last, and before it the parts of a long message.

        The order of sort keys is that of the store's time; a random part keeps those of several processes apart.
        Raises: BackendError for a message that no inbox can hold.
        """
        if len(content) > _MAX_BYTES:
            raise BackendError(f"a message of {len(content)} bytes to node {node} is too large")
        now = self._client.now()
        self._last = max(self._last + 1, int(now * 1e6))  # the estimate of the store's time may go back
        (pk, parts_pk), sort_key = partitions(node), f"{self._last:017d}-{secrets.token_hex(6)}"
        head: Item = {**Address(pk, sort_key)._asdict(), EXPIRES: int(now) + KEEP_SECONDS}
        if len(content) <= MAX_ITEM_BYTES:
            return [{**head, "body": content}]
        chunks = [content[at : at + MAX_ITEM_BYTES] for at in range(0, len(content), MAX_ITEM_BYTES)]
        parts = [
            {**_part(parts_pk, sort_key, position)._asdict(), "body": chunk, EXPIRES: head[EXPIRES]}
            for position, chunk in enumerate(chunks)
        ]
        return [{**head, "parts": len(parts)}, *parts]
