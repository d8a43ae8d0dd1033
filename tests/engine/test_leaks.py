"""The watch for leaks finds what requests hold while they do, and nothing afterwards."""

from __future__ import annotations

import asyncio

from mcp_transport.domain.principal import ANONYMOUS
from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import send_sessionless
from tests.support.clock import settle
from tests.support.endpoint import BuildEndpoint
from tests.support.leaks import LeakWatch
from tests.support.tools import Gate


def named(found: dict[str, object]) -> set[str]:
    return {name.removesuffix(" of node 0") for name in found}


async def test_what_a_running_call_holds_is_found_until_it_ends(build_endpoint: BuildEndpoint, gate: Gate) -> None:
    watch = LeakWatch(endpoint := build_endpoint(max_concurrent_calls=1))
    client = await opened(endpoint)
    running, waiting = (asyncio.ensure_future(client.call("blocked")) for _ in range(2))
    await settle()
    found = await watch.found()
    assert {"tasks", "calls", "writers", "lease", "admission of calls"} <= named(found)
    counts = {"running": 1, "waiting": 1}
    assert counts.items() <= dict(found["admission of calls of node 0"]).items()
    gate.open.set()
    await asyncio.gather(running, waiting)
    await endpoint.pool.stop()
    assert await watch.found() == {}


async def test_a_stream_is_found_if_its_end_does_not_remove_it(build_endpoint: BuildEndpoint) -> None:
    watch = LeakWatch(endpoint := build_endpoint())
    client = await opened(endpoint)
    await client.get()
    [node] = endpoint.pool.nodes
    [stream] = node.registry.streams.values()
    await endpoint.pool.stop()
    assert await watch.found() == {}
    node.registry.add_stream(stream)
    assert named(await watch.found()) == {"streams"}
    node.registry.remove_stream(stream)


async def test_memory_that_is_never_released_is_found(build_endpoint: BuildEndpoint) -> None:
    watch = LeakWatch(endpoint := build_endpoint())
    reservation = endpoint.budget.reserve(ANONYMOUS, "192.0.2.1")
    reservation.resize(1000)
    assert await watch.found() == {"bytes": 1000}
    reservation.release()
    assert await watch.found() == {}


async def test_a_listener_is_found_until_its_client_leaves(endpoint: Endpoint) -> None:
    watch = LeakWatch(endpoint)
    answer = await send_sessionless(endpoint, "subscriptions/listen", {"notifications": {}})
    await answer.message()
    assert endpoint.kernel.listen_handlers.here._streams
    answer.close()
    await settle()
    await endpoint.pool.stop()
    assert await watch.found() == {}
