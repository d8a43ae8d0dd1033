"""Requests to clients, and the replies that come back by whatever node a client's next POST meets."""

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

# Seconds that the clocks of two nodes may differ by, and that a reply may be under way.
_GRACE: Final = 60.0

# So many questions are known to be answered, at most; a further reply to an older one is sent on once more.
_MOST_ANSWERED: Final = 10_000


class ClientRequests:
    """The requests that one node has sent and waits to see answered; `keys` is a ring, the first one signs."""

    def __init__(self, node: str, clock: Clock, keys: Sequence[bytes]) -> None:
        self._node, self._clock, self._keys = node, clock, keys
        self._asked = 0
        self.waiting: dict[str, asyncio.Future[ReplyArrived]] = {}
        # ClientRequests whose reply came by this node, and their ends.
        self._answered: OrderedDict[str, float] = OrderedDict()

    def mint(self, owner: str, seconds: float) -> str:
        """Name a request: this node, a counter, when its time is over, and a proof that it was sent to `owner`."""
        self._asked += 1
        until = math.ceil(min(self._clock.now() + seconds + _GRACE, MAX_TIMESTAMP))
        name = f"{self._node}.{self._asked}.{until}"
        return f"{name}.{_proof(self._keys[0], owner, name)}"

    def asker(self, request_id: RequestId, owner: str) -> str | None:
        """Return the node that sent a request to `owner`, or None when none did."""
        name, _, proof = str(request_id).rpartition(".")
        known = any(hmac.compare_digest(_proof(key, owner, name).encode(), proof.encode()) for key in self._keys)
        return name.partition(".")[0] if known else None

    async def answer_once(self, request_id: str, send: Callable[[], Awaitable[object]]) -> None:
        """Have the reply to a question sent, if it is the first one that comes by this node, and in time.

        A reply that could not be sent does not count.
        """
        now, until = self._clock.now(), _until(request_id)
        if until <= now or request_id in self._answered:
            return
        self._answered[request_id] = until
        try:
            await send()
        except BaseException:
            self._answered.pop(request_id, None)
            raise
        while len(self._answered) > _MOST_ANSWERED or (self._answered and next(iter(self._answered.values())) <= now):
            self._answered.popitem(last=False)

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


def _until(request_id: str) -> float:
    """Return when the time of a question is over whose proof is good.

    The previous release names no time: its questions end with the node that asked.
    """
    _, _, *until, _ = request_id.split(".")
    return float(until[0]) if until else math.inf


def _proof(key: bytes, owner: str, name: str) -> str:
    return hmac.new(key, f"{owner}\n{name}".encode(), hashlib.sha256).hexdigest()[:24]
