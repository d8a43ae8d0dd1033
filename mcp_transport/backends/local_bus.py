"""Messages between the nodes of one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from mcp_transport.backends.contracts import MAX_BROADCASTS, Deliver, Measure, NodeBus
from mcp_transport.domain.metrics import ProcessMetrics
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from mcp_transport.domain.policy import Policy

__all__ = ["LocalNodeBus"]


class LocalNodeBus(NodeBus):
    """The nodes of this process, and the last broadcasts, with numbers that sort as text."""

    def __init__(self, policy: Policy, now: Callable[[], float]) -> None:
        self._policy, self._now = policy, now
        self._nodes: dict[str, tuple[Deliver, Measure]] = {}
        self._broadcasts: deque[tuple[float, Broadcast]] = deque(maxlen=MAX_BROADCASTS)
        self._count = 0

    async def start(self, node: str, deliver: Deliver, measure: Measure = ProcessMetrics) -> None:
        self._nodes[node] = deliver, measure

    async def stop(self, node: str) -> None:
        self._nodes.pop(node, None)

    async def metrics(self) -> tuple[ProcessMetrics, ...]:
        # The nodes of one process have one function.
        return tuple(measure() for measure in {measure for _, measure in list(self._nodes.values())})

    async def send(self, node: str, message: NodeMessage) -> bool:
        if node not in self._nodes:
            return False
        deliver, _ = self._nodes[node]
        deliver(message)
        return True

    async def broadcast(self, message: Broadcast) -> None:
        self._count += 1
        now, numbered = self._now(), replace(message, number=self._last)
        self._broadcasts.append((now, numbered))
        while self._broadcasts[0][0] + self._policy.stream_keep < now:
            self._broadcasts.popleft()
        for deliver, _ in list(self._nodes.values()):
            deliver(numbered)

    async def broadcasts(self, after: str) -> tuple[Broadcast, ...]:
        return tuple(message for _, message in self._broadcasts if message.number > after)

    async def last_broadcast(self) -> str:
        return self._last

    @property
    def _last(self) -> str:
        return f"{self._count:012d}"
