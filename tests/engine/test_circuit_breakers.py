"""Circuit breakers of tools: what is refused, what counts, who probes, and what stays untouched; both eras."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError

from mcp_transport.domain.circuit_breaker import BreakerState, CircuitBreaker
from mcp_transport.domain.node_messages import CircuitClosed, CircuitOpened
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import CallLimits, watched
from tests.support.calls import opened
from tests.support.client import Answer, SessionClient, request, send_sessionless, silent, text_of, until
from tests.support.clock import FakeClock
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import left_behind
from tests.support.tools import Gate, build_tools

Send = Callable[..., Awaitable[Answer]]
BREAKER = CircuitBreaker(failure_rate=0.5, window=30, min_calls=4, open_for=10, max_open_for=60)


class GuardedTool(Tool):
    limits: CallLimits = CallLimits()


class Downstream:
    """What the tool `guarded` depends on."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.error, self.hangs, self.runs = gate, BaseException(), False, 0
        self.works = True

    def fail(self, error: BaseException | None = None) -> None:
        self.works, self.error = False, error or ConnectionError("the downstream is away")

    async def guarded(self, number: int = 0) -> str:
        """Call the downstream."""
        self.runs += 1
        if self.hangs:
            await self.gate.pass_through()
        if not self.works:
            raise self.error
        return "works"


class Scene:
    """An endpoint whose tool `guarded` has a circuit breaker, and what sends calls to it."""

    def __init__(self, era: str, build: BuildEndpoint, clock: FakeClock, gate: Gate, **limits: Any) -> None:
        self.era, self.clock, self.gate, self.downstream = era, clock, gate, Downstream(gate)
        breaker = limits.setdefault("circuit_breaker", BREAKER)
        tool = Tool.from_function(watched(self.downstream.guarded, breaker))
        self.server: MCPServer[Any] = build_tools(gate)
        self.server._tool_manager._tools["guarded"] = GuardedTool(**{**dict(tool), "limits": CallLimits(**limits)})
        self.endpoint: Endpoint = build(server=self.server)
        self.client: SessionClient | None = None

    async def send(self, method: str, params: dict[str, Any], **options: Any) -> Answer:
        if self.era == "sessionless":
            return await send_sessionless(self.endpoint, method, params, **options)
        self.client = self.client or await opened(self.endpoint)
        return await self.client.request(method, params, **options)

    async def call(self, tool: str = "guarded", arguments: Any = None, **options: Any) -> Answer:
        return await self.send("tools/call", {"name": tool, "arguments": arguments or {}}, **options)

    async def calls(self, count: int) -> None:
        for _ in range(count):
            assert "result" in (await self.call()).json

    async def open(self) -> None:
        self.downstream.fail()
        await self.calls(4)
        assert self.state() is BreakerState.OPEN

    def state(self) -> BreakerState | None:
        return self.endpoint.breakers.states().get("guarded")

    def counted(self) -> tuple[int, int]:
        """Return the calls and failures in the window."""
        [(_, circuit)] = self.endpoint.breakers._circuits.values()
        return sum(calls for _, calls, _ in circuit.counts), sum(failures for _, _, failures in circuit.counts)

    async def assert_refused(self, seconds: float) -> None:
        """In a session the status is 200: another one ends the session of some clients."""
        runs, answer = self.downstream.runs, await self.call(id=7)
        error = answer.json["error"]
        assert (answer.status, error["code"], answer.json["id"]) == (200 if self.era == "session" else 503, -32603, 7)
        data = {"retryable": True, "limit": "circuit_breaker", "key": "tool", "retryAfterMs": seconds * 1000}
        assert error["data"] == data
        assert answer.headers["retry-after"] == str(round(seconds))
        assert self.downstream.runs == runs, "nothing ran"


MakeScene = Callable[..., Scene]


@pytest.fixture(params=["session", "sessionless"])
def era(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make(era: str, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate) -> MakeScene:
    return lambda **limits: Scene(era, build_endpoint, clock, gate, **limits)


async def test_it_opens_refuses_at_once_probes_and_closes(make: MakeScene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mcp_transport")
    scene = make()
    await scene.open()
    await scene.assert_refused(10)
    await scene.clock.advance(4)
    await scene.assert_refused(6)
    await scene.clock.advance(6)
    assert scene.state() is BreakerState.HALF_OPEN
    await scene.call()
    await scene.assert_refused(20)
    await scene.clock.advance(20)
    scene.downstream.works = True
    assert text_of((await scene.call()).json) == "works"
    assert scene.state() is BreakerState.CLOSED
    await scene.calls(5)
    assert scene.endpoint.breakers.refused == {"guarded": 3}
    assert scene.endpoint.breakers.opened["guarded"] == 1
    assert scene.endpoint.call_metrics.since_start().refused == {"circuit_breaker": 3}
    assert [
        (item.levelname, item.message.partition(":")[0])
        for item in caplog.records
        if item.message.startswith("circuit")
    ] == [
        ("WARNING", "circuit_opened"),
        ("INFO", "circuit_closed"),
    ]
    assert "too many have failed tool=guarded seconds=10.0" in caplog.text
    assert set(await left_behind(scene.endpoint)) <= {"sessions"}


async def test_one_tools_breaker_does_not_touch_others(make: MakeScene) -> None:
    scene = make()
    await scene.open()
    assert text_of((await scene.call("add", {"a": 1, "b": 2})).json) == "3"
    assert (await scene.send("tools/list", {})).status == 200
    assert list(scene.endpoint.breakers.states()) == ["guarded"]


@pytest.mark.parametrize(
    ("error", "failures", "counted"),
    [
        (ConnectionError("away"), (Exception,), (1, 1)),
        (ConnectionError("away"), (ConnectionError,), (1, 1)),
        (TimeoutError(), (Exception,), (1, 1)),
        (KeyError("a bug"), (ConnectionError,), (1, 0)),
        (ToolError("no such product"), (Exception,), (1, 0)),
        (ToolError("the warehouse is away"), (ConnectionError, ToolError), (1, 1)),
        (MCPError(-32000, "for the client"), (Exception,), (1, 0)),
        (asyncio.CancelledError(), (Exception,), (0, 0)),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_exceptions_count_and_answers_do_not(
    make: MakeScene, error: BaseException, failures: Any, counted: tuple[int, int]
) -> None:
    scene = make(circuit_breaker=CircuitBreaker(failures=failures))
    scene.downstream.fail(error)
    await scene.call()
    assert scene.counted() == counted


async def test_what_does_not_reach_the_function_does_not_count(make: MakeScene) -> None:
    scene = make()
    for _ in range(5):
        assert (await scene.call(arguments={"number": "no number"})).json["result"]["isError"]
    assert scene.counted() == (0, 0)
    await scene.calls(3)
    assert scene.counted() == (3, 0)


async def test_a_timeout_is_a_failure_and_counts_once(make: MakeScene) -> None:
    scene = make(timeout=0.5)
    scene.downstream.hangs = True
    for number in range(4):
        scene.gate.entered.clear()
        work = asyncio.ensure_future(scene.call())
        await scene.gate.wait(scene.gate.entered)
        await scene.clock.advance(0.6)
        assert "did not end within" in text_of((await work).json)
        assert number == 3 or scene.counted() == (number + 1, number + 1)
    await scene.assert_refused(10)


async def cancel(scene: Scene, work: asyncio.Future[Answer]) -> None:
    """Cancel a call as a client does: by a notification, or by closing the connection."""
    if scene.era == "sessionless":
        work.cancel()
        await asyncio.wait([work])
        return
    assert scene.client is not None
    await scene.client.notify("notifications/cancelled", {"requestId": 7})
    await work


@pytest.mark.parametrize("is_probe", [False, True])
async def test_a_call_that_its_client_cancels_does_not_count(make: MakeScene, is_probe: bool) -> None:
    scene = make()
    if is_probe:
        await scene.open()
        await scene.clock.advance(10)
    scene.downstream.hangs = True
    work = asyncio.ensure_future(scene.call(id=7))
    await scene.gate.wait(scene.gate.entered)
    if is_probe:
        await scene.assert_refused(10)
    await cancel(scene, work)
    await scene.gate.wait(scene.gate.left)
    scene.downstream.hangs, scene.downstream.works = False, True
    if not is_probe:
        assert scene.counted() == (0, 0)
        return
    assert scene.state() is BreakerState.HALF_OPEN, "the next call is the probe"
    await scene.calls(1)
    assert scene.state() is BreakerState.CLOSED


class Sharing:
    """Two equal calls that wait for one run; the first one leaves."""

    def __init__(self, make: MakeScene, **limits: Any) -> None:
        self.scene = make(read_only=True, coalesce=True, **limits)

    async def begin(self) -> asyncio.Future[Answer]:
        scene = self.scene
        scene.downstream.hangs = True
        first = asyncio.ensure_future(scene.call(id=7))
        await scene.gate.wait(scene.gate.entered)
        second = asyncio.ensure_future(scene.call(id=8))
        [node] = scene.endpoint.pool.nodes
        await until(lambda: len(node.registry.running) == 2)
        await cancel(scene, first)
        await until(lambda: len(node.registry.running) == 1)
        return second


async def test_a_run_that_goes_on_without_its_first_call_counts(make: MakeScene) -> None:
    sharing = Sharing(make)
    second = await sharing.begin()
    assert sharing.scene.counted() == (0, 0)
    sharing.scene.downstream.fail()
    sharing.scene.gate.open.set()
    assert (await second).json["result"]["isError"]
    assert sharing.scene.counted() == (1, 1)


async def test_a_timeout_of_one_that_has_joined_counts_if_the_first_call_has_left(make: MakeScene) -> None:
    sharing = Sharing(make, timeout=0.5)
    second = await sharing.begin()
    await sharing.scene.clock.advance(0.6)
    assert "did not end within" in text_of((await second).json)
    assert sharing.scene.counted() == (1, 1)


async def test_a_probe_that_goes_on_without_its_first_call_is_still_the_only_one(make: MakeScene) -> None:
    sharing = Sharing(make, timeout=float("inf"))
    scene = sharing.scene
    await scene.open()
    await scene.clock.advance(10)
    refuse = scene.endpoint.breakers.refuse
    scene.endpoint.breakers.refuse = lambda *_: None  # type: ignore[method-assign]  # as if both had come at once
    second = await sharing.begin()
    scene.endpoint.breakers.refuse = refuse  # type: ignore[method-assign]
    await scene.assert_refused(10)
    scene.downstream.works = True
    scene.gate.open.set()
    assert text_of((await second).json) == "works"
    assert scene.state() is BreakerState.CLOSED


async def test_a_probe_that_never_returns_does_not_block_the_breaker(make: MakeScene) -> None:
    scene = make(timeout=float("inf"))
    await scene.open()
    await scene.clock.advance(10)
    scene.downstream.hangs, scene.downstream.works = True, True
    probe = await silent(scene.clock, scene.gate.entered, scene.call(id=8))
    await scene.clock.advance(9)
    assert scene.state() is BreakerState.OPEN, "the probe has taken too long, and counts as failed"
    await scene.clock.advance(20)
    scene.downstream.hangs = False
    await scene.calls(1)
    assert scene.state() is BreakerState.CLOSED
    scene.gate.open.set()
    assert await probe.text() == "works"
    assert scene.counted() == (0, 0)


async def test_calls_that_waited_for_a_place_do_not_run_when_it_has_opened(make: MakeScene) -> None:
    scene = make(max_concurrency=1)
    scene.downstream.hangs = True
    scene.downstream.fail()
    first = await silent(scene.clock, scene.gate.entered, scene.call(id=6))
    waiting = asyncio.ensure_future(scene.call(id=8))
    [node] = scene.endpoint.pool.nodes
    await until(lambda: node.admission.waiting == 1)
    scene.endpoint.breakers.receive(CircuitOpened("guarded", 5.0), BREAKER)
    scene.gate.open.set()
    assert "Error executing tool" in await first.text()
    answer = await waiting
    error = (await answer.message() if "event-stream" in answer.headers["content-type"] else answer.json)["error"]
    assert error["data"]["limit"] == "circuit_breaker"
    assert scene.downstream.runs == 1
    assert node.admission.tools["tools/call guarded"].running == 0, "its place is free"


async def test_other_nodes_and_staff_close_it_again(make: MakeScene) -> None:
    scene = make()
    await scene.open()
    scene.endpoint.breakers.receive(CircuitClosed("guarded"), BREAKER)
    assert scene.state() is BreakerState.CLOSED
    await scene.open()
    scene.endpoint.breakers.reset("guarded")
    assert scene.state() is BreakerState.CLOSED
    scene.endpoint.breakers.reset("unknown")
    scene.endpoint.breakers.receive(CircuitOpened("unknown", 5.0), None)
    assert list(scene.endpoint.breakers.states()) == ["guarded"]


async def test_what_other_nodes_say_of_unknown_tools_is_ignored(make: MakeScene) -> None:
    scene = make()
    await scene.calls(1)
    [node] = scene.endpoint.pool.nodes
    node.receive(CircuitOpened("add", 5.0))
    node.receive(CircuitOpened("x" * 10_000, 5.0))
    assert list(scene.endpoint.breakers.states()) == ["guarded"]
    node.receive(CircuitOpened("guarded", 5.0))
    await scene.assert_refused(5)


async def test_in_a_batch_each_call_is_refused_by_itself(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    scene = Scene("session", build_endpoint, clock, gate)
    scene.client = await opened(scene.endpoint, version="2025-03-26")
    await scene.open()
    add = request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, id=1)
    guarded = request("tools/call", {"name": "guarded", "arguments": {}}, id=2)
    answers = {item["id"]: item for item in (await scene.client.post([add, guarded])).json}
    assert text_of(answers[1]) == "3"
    assert answers[2]["error"]["data"]["limit"] == "circuit_breaker"


async def test_a_tool_without_one_pays_nothing(make: MakeScene) -> None:
    scene = make()
    await scene.call("add", {"a": 1, "b": 2})
    assert not scene.endpoint.breakers.states()


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_is_cancelled_and_when_one_probe_runs_at_a_time_and_it_closes_again(
    make: MakeScene, seed: int
) -> None:
    """Calls begin, fail, end and are cancelled at random; in the end the tool works, and nothing is left."""
    rng, scene = random.Random(seed), make(timeout=15.0)  # noqa: S311 (no secret)
    works: list[asyncio.Future[Answer]] = []
    for step in range(40):
        match rng.choice(("call", "call", "call", "cancel", "advance", "release", "turn")):
            case "call":
                works.append(asyncio.ensure_future(scene.call(id=100 + step)))
                await asyncio.sleep(0)
            case "cancel" if works:
                works.pop(rng.randrange(len(works))).cancel()
            case "advance":
                await scene.clock.advance(rng.choice((0.5, 3, 11)))
            case "release":
                scene.gate.open.set()
                await scene.clock.advance(0)
                scene.gate.open.clear()
            case "turn":
                scene.downstream.hangs = rng.random() < 0.5
                scene.downstream.works = rng.random() < 0.4
                scene.downstream.error = ConnectionError()
    scene.downstream.hangs, scene.downstream.works = False, True
    scene.gate.open.set()
    for work in works[::2]:
        work.cancel()
    await scene.clock.advance(200)
    await asyncio.wait_for(asyncio.gather(*works, return_exceptions=True), 60)
    for answer in works:
        if not answer.cancelled() and answer.result().stream is not None:
            answer.result().close()
    await scene.clock.advance(200)
    await scene.calls(2)
    assert scene.state() is BreakerState.CLOSED
    [node] = scene.endpoint.pool.nodes
    await until(lambda: not node.registry.running)
