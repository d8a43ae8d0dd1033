from __future__ import annotations

from dataclasses import replace

from mcp_transport.backends.contracts import MAX_BROADCASTS
from mcp_transport.backends.local_bus import LocalNodeBus
from mcp_transport.domain.node_messages import Broadcast, NodeMessage
from tests.support.backends import POLICY, HandClock


async def test_a_node_may_leave_while_all_get_a_broadcast() -> None:
    bus, received = LocalNodeBus(POLICY, HandClock()), list[tuple[str, NodeMessage]]()

    def leave(message: NodeMessage) -> None:
        received.append(("n1", message))
        bus._nodes.clear()

    await bus.start("n1", leave)
    await bus.start("n2", lambda message: received.append(("n2", message)))
    await bus.broadcast(Broadcast("a"))
    await bus.broadcast(Broadcast("b"))
    assert [(node, message.method) for node, message in received if isinstance(message, Broadcast)] == [
        ("n1", "a"),
        ("n2", "a"),
    ]


async def test_broadcasts_are_numbered_and_dropped_in_time_and_by_number() -> None:
    clock = HandClock()
    bus = LocalNodeBus(replace(POLICY, stream_keep=10.0), clock)
    numbers = []
    for method, seconds in (("m0", 20), ("m20", 1), ("m21", 1), ("m22", 0)):
        await bus.broadcast(Broadcast(method))
        numbers.append(await bus.last_broadcast())
        clock.advance(seconds)
    assert numbers == sorted(numbers)
    assert [item.method for item in await bus.broadcasts("")] == ["m20", "m21", "m22"]
    assert [item.method for item in await bus.broadcasts(numbers[1])] == ["m21", "m22"]
    for _ in range(MAX_BROADCASTS):
        await bus.broadcast(Broadcast("more"))
    assert {item.method for item in await bus.broadcasts("")} == {"more"}
    assert await bus.broadcasts(await bus.last_broadcast()) == ()
    assert await bus.last_broadcast() > numbers[-1]
