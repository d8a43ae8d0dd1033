"""Requests to clients, and the replies that come back by whatever node a client's next POST meets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence

from mcp_transport.engine.clock import Clock, wait
from mcp_transport.protocol.inbox import ReplyArrived
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["Questions"]


class Questions:
    """The requests that one node has sent and waits to see answered; `keys` is a ring, the first one signs."""

    def __init__(self, node: str, clock: Clock, keys: Sequence[bytes]) -> None:
        self._node, self._clock, self._keys = node, clock, keys
        self._asked = 0
        self.waiting: dict[str, asyncio.Future[ReplyArrived]] = {}

    def mint(self, owner: str) -> str:
        """Name a request: this node, a counter, and a proof that it was sent to `owner`."""
        self._asked += 1
        name = f"{self._node}.{self._asked}"
        return f"{name}.{_proof(self._keys[0], owner, name)}"

    def asker(self, request_id: RequestId, owner: str) -> str | None:
        """Return the node that sent a request to `owner`, or None when none did."""
        name, _, proof = str(request_id).rpartition(".")
        known = any(hmac.compare_digest(_proof(key, owner, name).encode(), proof.encode()) for key in self._keys)
        return name.partition(".")[0] if known else None

    def take(self, reply: ReplyArrived) -> None:
        """Hand a reply to whoever waits for it; the first one counts."""
        waiting = self.waiting.get(reply.request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    async def reply(self, request_id: str, seconds: float) -> ReplyArrived:
        """Wait for the client's reply. Raises: TimeoutError."""
        arrived = asyncio.Event()
        reply: asyncio.Future[ReplyArrived] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(lambda _: arrived.set())
        self.waiting[request_id] = reply
        try:
            if not await wait(self._clock, arrived, seconds):
                raise TimeoutError
            return reply.result()
        finally:
            del self.waiting[request_id]


def _proof(key: bytes, owner: str, name: str) -> str:
    return hmac.new(key, f"{owner}\n{name}".encode(), hashlib.sha256).hexdigest()[:24]
