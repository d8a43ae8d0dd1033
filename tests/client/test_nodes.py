"""Three nodes and Redis without a load balancer: a node dies in the middle of a call, or all restart."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from mcp_types import ElicitResult

from mcp_transport.client import Client
from tests.client.kills import TOOLS, kill_in_mid_call, restart_all, urls
from tests.support.cluster.stage import Stage, until
from tests.support.http.losing_proxy import LosingProxy

pytestmark = pytest.mark.servers
CALLS_A_SECOND = 20


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    with Stage(("daphne", "uvicorn", "daphne")) as stage:
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Stage:
    shared.mend()
    return shared


@pytest.mark.parametrize("tenth", (1, 3, 5, 8, 10))
async def test_its_node_is_killed_in_the_middle_of_a_call(stage: Stage, tenth: int) -> None:
    """`make failover` repeats this 100 times, after each tenth of calls of five seconds."""
    killed = await kill_in_mid_call(stage, TOOLS[tenth % len(TOOLS)], tenth, seconds=1.0)
    assert not killed.faults()


@pytest.mark.parametrize(("tool", "text"), [("silent", "done"), ("count", "counted to 3")], ids=["JSON", "a stream"])
async def test_an_answer_that_was_lost_is_got_again_without_a_second_run(stage: Stage, tool: str, text: str) -> None:
    name, pid = f"lost-{tool}", stage.nodes[0].pid
    stage.open(name)
    proxy = LosingProxy(stage.nodes[0].port, losses=1)
    async with proxy.serve() as url, Client([url, *urls(stage)[1:]]) as client:
        result = await client.call_tool(tool, {"name": name})
        assert getattr(result.content[0], "text", "") == f"{text} on {pid}"
    assert (stage.pids(name), proxy.losses) == ([pid], 0)


async def test_a_call_whose_connection_is_lost_while_it_runs_is_joined(stage: Stage) -> None:
    """The client stops waiting for the first node and sends the call to the second one, which joins it."""
    first, second = LosingProxy(stage.nodes[0].port, losses=1), LosingProxy(stage.nodes[1].port, losses=0)
    async with first.serve() as here, second.serve() as there, Client([here, there], attempt_timeout=0.3) as client:
        call = asyncio.ensure_future(client.call_tool("silent", {"name": "joined"}))
        await until(lambda: any(b'"tools/call"' in request for request in second.requests), "it is sent again")
        stage.open("joined")
        result = await call
        assert getattr(result.content[0], "text", "") == f"done on {stage.nodes[0].pid}"
    assert stage.pids("joined") == [stage.nodes[0].pid]


async def test_a_rolling_restart_fails_no_call(stage: Stage) -> None:
    done: Counter[str] = Counter()

    async def caller() -> None:
        async with Client(urls(stage)) as client:
            while True:
                result = await client.call_tool("add", {"a": 1, "b": 2})
                done[str(result.structured_content)] += 1
                await asyncio.sleep(1 / CALLS_A_SECOND * 4)

    async def more() -> None:
        wanted = done.total() + 30
        await until(lambda: done.total() >= wanted or any(task.done() for task in callers), "calls go on", 60.0)
        assert not [task for task in callers if task.done()]

    callers = [asyncio.ensure_future(caller()) for _ in range(4)]
    try:
        await restart_all(stage, more)
        assert done.keys() == {"{'result': 3}"}
    finally:
        for task in callers:
            task.cancel()
        ends = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def test_a_reply_follows_the_session_to_another_node(stage: Stage) -> None:
    """The node of the call accepts no requests during the elicitation; another node accepts the reply."""
    messages: list[str] = []

    async def answer(context: object, params: object) -> ElicitResult:
        messages.append(str(getattr(params, "message", "")))
        client._endpoints.record_failure(client._endpoints.current, "planted")
        return ElicitResult(action="accept", content={"name": "Ann"})

    client = Client(urls(stage), elicitation_callback=answer)
    async with client:
        result = await client.call_tool("ask", {})
        assert getattr(result.content[0], "text", "") == "accept Ann"
    assert messages == ["name?"]


async def test_the_stream_of_a_session_goes_on_at_another_node(stage: Stage) -> None:
    messages: list[str] = []

    async def logged(params: object) -> None:
        messages.append(str(getattr(params, "data", "")))

    async with Client(urls(stage), logging_callback=logged) as client:
        await client.call_tool("whisper", {"text": "one"})
        await until(lambda: messages == ["one"], "the first message")
        stage.nodes[0].kill()
        await client.call_tool("whisper", {"text": "two"})
        await until(lambda: messages[1:] == ["two"], "the second message")


async def test_a_session_goes_on_in_another_process_s_client_at_another_node(stage: Stage) -> None:
    async with Client(urls(stage)[0]) as first:
        await first.call_tool("remember", {"name": "color", "value": "blue"})
        saved = first.save_session()
    async with Client(urls(stage)[1], session=saved) as second:
        result = await second.call_tool("recall", {"name": "color"})
        assert getattr(result.content[0], "text", "") == "blue"


async def test_a_node_that_stands_still_is_left(stage: Stage) -> None:
    """A request that may be repeated goes to another endpoint after `attempt_timeout`."""
    async with Client(urls(stage), attempt_timeout=0.5) as client:
        await client.list_tools()
        stage.nodes[0].pause()
        started_at = time.monotonic()
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        assert (await client.list_tools()).tools
        assert time.monotonic() - started_at < 25.0
