"""The nodes that serve sessions: their leases, and the messages between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from mcp_transport.backends.codec import each
from mcp_transport.backends.dynamodb.broadcasts import BroadcastLog
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.inbox import Outbox
from mcp_transport.backends.dynamodb.items import Item
from mcp_transport.backends.dynamodb.leases import Lease, read_lease, read_leases
from mcp_transport.backends.dynamodb.node_store import DESCRIPTIONS, DynamoNodeStore, journal_address
from mcp_transport.backends.dynamodb.store_clock import MAX_CLOCK_ERROR
from mcp_transport.backends.leased_nodes import LeasedNodeBus
from mcp_transport.backends.membership import NodeStore, RunningStreams
from mcp_transport.domain.node_messages import Broadcast, Doubted, NodeMessage, Superseded
from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import log_failure

__all__ = ["DynamoNodeBus"]


class DynamoNodeBus(LeasedNodeBus):
    """Runs the memberships of this process's nodes, whose inboxes are polled often while they expect messages."""

    def __init__(
        self,
        client: DynamoClient,
        policy: Policy,
        running: RunningStreams,
        after_heartbeat: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(running, policy.lease, after_heartbeat)
        self._client, self._session_max_age = client, policy.session_max_age
        self._expects: dict[str, Callable[[], bool]] = {}
        self._outbox, self._broadcasts = Outbox(client, policy.lease), BroadcastLog(client, policy.stream_keep)
        self._striking = set[asyncio.Task[None]]()

    def wake(self) -> None:
        """Poll often for a while, from any thread: messages may follow soon."""
        for member in list(self._members.values()):
            if isinstance(member.store, DynamoNodeStore):
                member.store.inbox.wake()

    # -- nodes ---------------------------------------------------------------------------------------

    def _store_of(self, node: str) -> NodeStore:
        lease_seconds, expects = self._lease_seconds, self._expects.get(node, lambda: True)
        return DynamoNodeStore(node, self._client, self._outbox, lease_seconds, self._session_max_age, expects)

    def expect_messages(self, node: str, expects: Callable[[], bool]) -> None:
        self._expects[node] = expects

    async def stop(self, node: str) -> None:
        await super().stop(node)
        self._expects.pop(node, None)

    def _is_alive(self, node: str) -> Awaitable[bool]:
        return self._exists(node)

    async def _exists(self, node: str) -> bool:
        lease = await read_lease(self._client, node, self._lease_seconds)
        return lease is not None and not lease.is_swept

    async def _node_names(self) -> Sequence[str]:
        return [name for name, lease in (await self._stored_leases()).items() if not lease.is_swept]

    async def _descriptions(self) -> Mapping[str, bytes]:
        """Return them without those of nodes that are dead but not swept, as far as the store's clock tells."""
        leases, items = await asyncio.gather(self._stored_leases(), self._client.query(DESCRIPTIONS))
        now = self._client.now()
        expected = {
            name
            for name, lease in leases.items()
            if not lease.is_swept and now - lease.renewed <= lease.seconds + MAX_CLOCK_ERROR
        }
        return {name: body for name, body in each("the lease of a node", items, _description) if name in expected}

    async def _ages(self, names: Sequence[str]) -> Sequence[float]:
        leases, now = await self._stored_leases(), self._client.now()
        return [now - leases[name].renewed if name in leases else self._lease_seconds for name in names]

    async def _stored_leases(self) -> dict[str, Lease]:
        return await read_leases(self._client, self._lease_seconds, consistent=True)

    def strike_from_journal(self, node: str, key: str, stream: str) -> None:
        """Remove a stream from the journal of a dead node in the background."""
        task = asyncio.get_running_loop().create_task(self._strike(node, key, stream))
        self._striking.add(task)
        task.add_done_callback(self._striking.discard)

    async def _strike(self, node: str, key: str, stream: str) -> None:
        try:
            await self._client.write_each(deletes=[journal_address(node, key, stream)])
        except BackendError as error:  # the next sweep finds it, and its claim is refused
            log_failure(f"a stream stays in the journal of node {node}", error)

    # -- messages ------------------------------------------------------------------------------------

    async def _send(self, node: str, message: NodeMessage) -> bool:
        if isinstance(message, Doubted | Superseded):
            sender = self._members.get(message.node if isinstance(message, Doubted) else message.asker)
            if sender is not None and isinstance(sender.store, DynamoNodeStore):
                sender.store.inbox.expect_reply()
        return await self._outbox.send(node, message)

    async def _number(self, message: Broadcast) -> str:
        return await self._broadcasts.add(message)

    async def broadcasts(self, after: str) -> tuple[Broadcast, ...]:
        return await self._broadcasts.after(after)

    async def last_broadcast(self) -> str:
        return await self._broadcasts.last()


def _description(item: Item) -> tuple[str, bytes]:
    """Raises: ValueError."""
    if not isinstance(item.get("body"), bytes):
        raise ValueError("not a description")
    return item["sk"], item["body"]
