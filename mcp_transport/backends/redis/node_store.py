"""What a node stores in Redis for its membership: its lease, its inbox and its journal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from mcp_transport.backends.codec import encode_message, milliseconds
from mcp_transport.backends.membership import NodeStore, Stream
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.backends.redis.codec import decode_names
from mcp_transport.backends.redis.connection import recover
from mcp_transport.domain.node_messages import NodeMessage
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.supervision import suppress_and_log

__all__ = ["RedisNodeStore", "is_alive", "journal_entry", "send"]

# The size of an inbox, in messages and bytes; beyond it, messages are refused.
_MAX_MESSAGES: Final = 10_000
_MAX_BYTES: Final = 64 * 1024 * 1024

# Messages are removed from the inbox with the next heartbeat, or after so many messages or bytes.
_ACK_MESSAGES: Final = 100
_ACK_BYTES: Final = 1024 * 1024

# How long the inbox and the journal of a dead node are stored for the sweep.
_KEEP_MILLISECONDS: Final = 3_600_000

# How long messages are stored for a node whose lease has expired.
_INBOX_KEEP_MILLISECONDS: Final = 60_000


class RedisNodeStore(NodeStore):
    """The keys of one node; Redis's clock decides when a lease has lapsed."""

    def __init__(self, node: str, client: RedisClient) -> None:
        self.node, self._client, self._keys = node, client, client.keys
        self._lease_seconds, self._inbox = client.policy.lease, client.connect_inbox()
        self._last_id, self._unacked, self._unacked_bytes = "0-0", 0, 0

    # -- lease and inbox -----------------------------------------------------------------------------

    def _keys_of(self, node: str) -> list[str]:
        keys = self._keys
        return [keys.lease(node), keys.inbox(node), keys.inbox_bytes(node), keys.journal(node)]

    async def renew(self, description: bytes) -> bool:
        arguments = [description, milliseconds(self._lease_seconds), _KEEP_MILLISECONDS]
        ack = [self._ack_inbox()] if self._unacked else []
        renewal = self._client.run("heartbeat", self._keys_of(self.node), arguments)
        lapsed, *_ = await asyncio.gather(renewal, *ack)
        return bool(lapsed)

    async def read_inbox(self, seconds: float, receive: Callable[[bytes], None]) -> None:
        block, after = max(1, milliseconds(seconds)), {self._keys.inbox(self.node): self._last_id}
        try:
            reply = await self._inbox.xread(after, count=_ACK_MESSAGES, block=block)
        except Exception as error:
            raise self._client.batcher.translated(error) from error
        for _, entries in reply or ():
            for number, members in entries:
                self._last_id = number.decode()
                raw = members.get(b"m", b"")
                self._unacked += 1
                self._unacked_bytes += len(raw)
                receive(raw)
                if self._unacked_bytes >= _ACK_BYTES:
                    await asyncio.sleep(0)  # a full inbox takes long: let other tasks run in between
        if self._unacked >= _ACK_MESSAGES or self._unacked_bytes >= _ACK_BYTES:
            await self._ack_inbox()

    async def _ack_inbox(self) -> None:
        """Remove the messages that were read from the inbox."""
        unacked_bytes, self._unacked, self._unacked_bytes = self._unacked_bytes, 0, 0
        keys = [self._keys.inbox(self.node), self._keys.inbox_bytes(self.node)]
        with suppress_and_log(f"the inbox of node {self.node} cannot be emptied"):
            await self._client.run("ack_inbox", keys, [self._last_id, unacked_bytes])

    async def recover(self) -> None:
        await recover(self._inbox)

    async def leave(self) -> None:
        await self._inbox.aclose()
        execute = self._client.execute
        with suppress(BackendError):
            await asyncio.gather(
                execute("DEL", *self._keys_of(self.node)), execute("ZREM", self._keys.nodes, self.node)
            )

    async def send(self, node: str, message: NodeMessage) -> bool:
        return await send(self._client, node, message)

    # -- the journal ---------------------------------------------------------------------------------

    async def add_to_journal(self, streams: set[Stream]) -> None:
        journal, execute = self._keys.journal(self.node), self._client.execute
        entries = [text for item in streams for text in (journal_entry(*item), "")]
        await asyncio.gather(execute("HSET", journal, *entries), execute("PEXPIRE", journal, _KEEP_MILLISECONDS))

    async def remove_from_journal(self, streams: set[Stream]) -> None:
        entries = [journal_entry(*item) for item in streams]
        await self._client.execute("HDEL", self._keys.journal(self.node), *entries)

    # -- other nodes ---------------------------------------------------------------------------------

    def is_alive(self, node: str) -> Awaitable[bool]:
        return is_alive(self._client, node)

    async def lapsed_nodes(self) -> Sequence[str]:
        """Register the end of this node's lease, too."""
        dead = await self._client.run("nodes", [self._keys.nodes], [self.node, milliseconds(self._lease_seconds)])
        names = decode_names(dead)
        if len(names) < len(dead):
            unreadable = [name for name in dead if name.decode(errors="replace") not in names]
            await self._client.execute("ZREM", self._keys.nodes, *unreadable)
        return names

    async def lock_sweep(self, dead: str) -> bool:
        lock, execute = self._keys.sweep_lock(dead), self._client.execute
        if await self.is_alive(dead):
            return False
        if await execute("SET", lock, self.node, "NX", "PX", milliseconds(self._lease_seconds / 2)):
            return True
        if await execute("PTTL", lock) == -1:  # a lock without an end blocks every sweep
            await execute("DEL", lock)
        return False

    async def journal_of(self, dead: str) -> Sequence[Stream]:
        streams = list[Stream]()
        for item in await self._client.execute("HKEYS", self._keys.journal(dead)):
            try:
                key, stream = item.decode().split(" ")
            except ValueError:
                await self._client.execute("HDEL", self._keys.journal(dead), item)
            else:
                streams.append((key, stream))
        return streams

    async def node_names(self) -> Sequence[str]:
        return decode_names(await self._client.execute("ZRANGE", self._keys.nodes, 0, -1))

    async def forget(self, dead: str) -> None:
        execute, dead_keys = self._client.execute, self._keys_of(dead)[1:]
        await asyncio.gather(execute("ZREM", self._keys.nodes, dead), execute("DEL", *dead_keys))


def journal_entry(key: str, stream: str) -> str:
    """Return the name of a stream in a node's journal."""
    return f"{key} {stream}"


def is_alive(client: RedisClient, node: str) -> Awaitable[bool]:
    """Send the command that tells whether a node's lease has not expired. Raises, when awaited: BackendError."""
    return client.execute("EXISTS", client.keys.lease(node))


async def send(client: RedisClient, node: str, message: NodeMessage) -> bool:
    """Put a message into a node's inbox; return False if the node's lease has expired.

    Raises: BackendError, also when the inbox is full.
    """
    arguments = [encode_message(message), _MAX_MESSAGES, _MAX_BYTES, _INBOX_KEEP_MILLISECONDS]
    node_keys = [client.keys.lease(node), client.keys.inbox(node), client.keys.inbox_bytes(node)]
    try:
        reply = await client.run("send", node_keys, arguments)
    except Unreadable as error:  # the inbox is unreadable, and not the session of the message
        raise BackendError(f"no message can be sent to node {node}: {error}") from error
    if reply < 0:
        raise BackendError(f"the inbox of node {node} is full")
    return bool(reply)
