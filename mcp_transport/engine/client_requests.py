"""Requests to clients, and their replies, which may arrive on any node."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from mcp_transport.domain.node_messages import ReplyArrived
from mcp_transport.domain.session import MAX_TIMESTAMP
from mcp_transport.engine.clock import Clock, wait
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["ClientRequests"]

# How much the clocks of two nodes may differ, plus the time that a reply may take to arrive.
_CLOCK_TOLERANCE_SECONDS: Final = 60.0

# A second reply to an older request is forwarded again, which does no harm: the first reply counts.
_MAX_ANSWERED: Final = 10_000


class ClientRequests:
    """One node's requests to clients. `keys` is a key ring: the first key signs, all keys verify."""

    def __init__(self, node: str, clock: Clock, keys: Sequence[bytes]) -> None:
        self._node, self._clock, self._keys = node, clock, keys
        self._count = 0
        self.pending: dict[str, asyncio.Future[ReplyArrived | None]] = {}
        # Requests whose reply arrived on this node, and when they expire.
        self._answered: OrderedDict[str, float] = OrderedDict()

    def new_id(self, key: str, principal: str, seconds: float) -> str:
        """Return a request id: this node, a counter, the expiry, and a signature.

        Only the session `key` and its principal may reply.
        """
        self._count += 1
        expiry = math.ceil(min(self._clock.now() + seconds + _CLOCK_TOLERANCE_SECONDS, MAX_TIMESTAMP))
        name = f"{self._node}.{self._count}.{expiry}"
        return f"{name}.{_signature(self._keys[0], key, principal, name)}"

    def sender(self, request_id: RequestId, key: str, principal: str) -> str | None:
        """Return the node that sent a request to a session of a principal, or None if no node did."""
        name, _, signature = str(request_id).rpartition(".")
        expected = (_signature(secret, key, principal, name).encode() for secret in self._keys)
        is_valid = any(hmac.compare_digest(item, signature.encode()) for item in expected)
        return name.partition(".")[0] if is_valid else None

    async def forward_once(self, request_id: str, send: Callable[[], Awaitable[object]]) -> None:
        """Send a reply, unless another reply to its request arrived on this node, or the request has expired.

        A reply that could not be sent does not count.
        """
        now, expiry = self._clock.now(), _expiry(request_id)
        if expiry <= now or request_id in self._answered:
            return
        self._answered[request_id] = expiry
        try:
            await send()
        except BaseException:
            self._answered.pop(request_id, None)
            raise
        while len(self._answered) > _MAX_ANSWERED or (self._answered and next(iter(self._answered.values())) <= now):
            self._answered.popitem(last=False)

    def resolve(self, reply: ReplyArrived) -> None:
        """Pass a reply to the handler that waits for it; the first reply counts."""
        future = self.pending.get(reply.request_id)
        if future is not None and not future.done():
            future.set_result(reply)

    def give_up(self, request_id: str) -> None:
        """End the wait for a reply, whoever waits."""
        future = self.pending.get(request_id)
        if future is not None and not future.done():
            future.set_result(None)

    async def wait_for_reply(self, request_id: str, seconds: float) -> ReplyArrived | None:
        """Wait for the client's reply; return None if it was given up. Raises: TimeoutError."""
        arrived = asyncio.Event()
        reply: asyncio.Future[ReplyArrived | None] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(lambda _: arrived.set())
        self.pending[request_id] = reply
        try:
            if not await wait(self._clock, arrived, seconds):
                raise TimeoutError
            return reply.result()
        finally:
            del self.pending[request_id]


def _expiry(request_id: str) -> float:
    """Return when a request with a valid signature expires.

    Ids of the previous release have no expiry: their requests end with the node that sent them.
    """
    _, _, *expiry, _ = request_id.split(".")
    return float(expiry[0]) if expiry else math.inf


def _signature(secret: bytes, key: str, principal: str, name: str) -> str:
    return hmac.new(secret, f"{key}\n{principal}\n{name}".encode(), hashlib.sha256).hexdigest()[:24]
