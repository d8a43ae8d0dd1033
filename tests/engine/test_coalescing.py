"""Requests that are the same at the same time share one run; each keeps its own end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp.server.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError

from mcp_transport.context import Context as OurContext
from mcp_transport.engine.call import Call
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import CallLimits, convert_context
from mcp_transport.protocol.headers import CORRELATION_HEADERS
from tests.support.calls import opened
from tests.support.client import Answer, SessionClient, send_sessionless, until
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.leaks import held_by
from tests.support.tools import Gate

URI = "test://slow"
READS = CallLimits(read_only=True, coalesce=True)


class Runs:
    """What the handlers of a test have done, and what holds them up."""

    def __init__(self) -> None:
        self.begun = self.ended = self.cancelled = 0
        self.open = asyncio.Event()
        self.fails = False

    @property
    def running(self) -> int:
        return self.begun - self.ended

    async def run(self) -> str:
        self.begun += 1
        number = self.begun
        try:
            await self.open.wait()
            if self.fails:
                raise MCPError(4242, "failed on purpose")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.ended += 1
        return f"run {number}"


def declare(server: MCPServer[Any], name: str, limits: CallLimits, function: Callable[..., Any]) -> None:
    tool = Tool.from_function(function, name=name)
    vars(tool)["limits"] = limits
    server._tool_manager._tools[name] = tool


@pytest.fixture
async def runs() -> Runs:
    return Runs()


@pytest.fixture
async def server(runs: Runs) -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("engine-tests", version="1")

    @server.resource(URI)
    async def slow() -> str:
        return await runs.run()

    @server.prompt()
    async def greet(name: str) -> str:
        return await runs.run()

    async def look(what: str = "") -> str:
        return await runs.run()

    async def report(ctx: Context, meanwhile: bool = False) -> str:
        for step in (1, 2):
            await ctx.report_progress(step)
        text = await runs.run()
        await ctx.report_progress(3)
        return text

    async def ask(ctx: Context) -> str:
        text = await runs.run()
        return f"{text}: {(await convert_context(ctx, OurContext).list_roots()).roots}"

    async def change() -> str:
        return "changed"

    for name, function in (("look", look), ("report", report), ("ask", ask)):
        declare(server, name, READS, function)
    declare(server, "public", CallLimits(read_only=True, coalesce=True, shared=True), look)
    declare(server, "narrow", CallLimits(read_only=True, coalesce=True, max_concurrency=1), look)
    declare(server, "brief", CallLimits(read_only=True, coalesce=True, timeout=10), look)
    declare(server, "change", CallLimits(), change)
    return server


@pytest.fixture
async def endpoint(build_endpoint: BuildEndpoint, server: MCPServer[Any]) -> Endpoint:
    return build_endpoint(server=server)


def task(work: Awaitable[Answer]) -> asyncio.Task[Answer]:
    return asyncio.ensure_future(work)


def read(endpoint: Endpoint, **options: Any) -> asyncio.Task[Answer]:
    return task(send_sessionless(endpoint, "resources/read", {"uri": URI}, **options))


def call(endpoint: Endpoint, name: str = "look", arguments: Any = None, **options: Any) -> asyncio.Task[Answer]:
    params = {"name": name, "arguments": arguments or {}}
    return task(send_sessionless(endpoint, "tools/call", params, **options))


async def all_of(tasks: list[asyncio.Task[Answer]]) -> list[Answer]:
    async with asyncio.timeout(60):
        return await asyncio.gather(*tasks)


async def outcome(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = answer.json if answer.stream is None else (await answer.messages())[-1]
    return found


# -- what is shared ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ["session", "sessionless"])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {"uri": URI}),
        ("prompts/get", {"name": "greet", "arguments": {"name": "a"}}),
        ("tools/call", {"name": "look", "arguments": {"what": "a"}}),
    ],
)
async def test_a_thousand_equal_requests_run_once(
    era: str, method: str, params: dict[str, Any], endpoint: Endpoint, runs: Runs
) -> None:
    if era == "session":
        client = await opened(endpoint)
        tasks = [task(client.request(method, params, id=number)) for number in range(1, 1001)]
    else:
        tasks = [task(send_sessionless(endpoint, method, params, id=number)) for number in range(1, 1001)]
    await until(lambda: runs.begun)
    await settle()
    [node] = endpoint.pool.nodes
    assert (node.admission.calls.running, node.admission.calls.waiting) == (1, 0)
    runs.open.set()
    answers = [answer.json for answer in await all_of(tasks)]
    assert sorted(answer["id"] for answer in answers) == list(range(1, 1001))
    assert len({str(answer["result"]) for answer in answers}) == 1
    assert runs.begun == 1
    counters = endpoint.call_metrics.since_start()
    assert counters.coalesced == 999
    name = {"tools/call": " look", "prompts/get": " greet"}.get(method, "")
    assert counters.operations[f"{method}{name}"].calls == 1000


async def test_who_comes_after_the_end_runs_again(endpoint: Endpoint, runs: Runs) -> None:
    runs.open.set()
    for number in (1, 2):
        [answer] = await all_of([read(endpoint)])
        assert answer.json["result"]["contents"][0]["text"] == f"run {number}"
    [node] = endpoint.pool.nodes
    assert not node.shared_runs.by_owner


DIFFERENT: list[dict[str, Any]] = [
    {"user": "bob"},
    {"peer": "192.0.2.7"},
    {"headers": {"accept-language": "de"}},
    {"headers": {"x-tenant": "b"}},
    {"headers": {"authorization": "Bearer other"}},
    {"meta": {"com.example/tenant": "b"}},
    {"meta": {"io.modelcontextprotocol/clientCapabilities": {"roots": {}}}},
    {"meta": {"io.modelcontextprotocol/logLevel": "debug"}},
]


@pytest.mark.parametrize("other", DIFFERENT, ids=str)
@pytest.mark.parametrize(("name", "expected"), [("look", 2), ("public", 1)])
async def test_requests_that_a_handler_could_tell_apart_share_no_run(
    other: dict[str, Any], name: str, expected: int, endpoint: Endpoint, runs: Runs
) -> None:
    """The function of a tool that is `shared` cannot: it has no context."""
    tasks = [call(endpoint, name, **options) for options in ({}, other, {}, other)]
    await until(lambda: runs.begun == expected)
    await settle()
    assert runs.begun == expected
    runs.open.set()
    answers = await all_of(tasks)
    assert len({answer.json["result"]["content"][0]["text"] for answer in answers}) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"x-request-id": "a"}},
        {"headers": dict.fromkeys(sorted(CORRELATION_HEADERS - {"traceparent", "tracestate"}), "a")},
        {"headers": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},
        {"meta": {"progressToken": 7}},
    ],
    ids=str,
)
async def test_ids_of_the_request_itself_do_not_matter(
    options: dict[str, Any], endpoint: Endpoint, runs: Runs
) -> None:
    tasks = [call(endpoint), call(endpoint, **options)]
    await until(lambda: runs.begun)
    await settle()
    runs.open.set()
    assert [answer.status for answer in await all_of(tasks)] == [200, 200]
    assert runs.begun == 1


@pytest.mark.parametrize(("name", "expected"), [("look", 3), ("public", 2)])
async def test_sessions_share_only_what_all_callers_share(
    name: str, expected: int, endpoint: Endpoint, runs: Runs
) -> None:
    """The revision is always a part of the key."""
    first, second = await opened(endpoint), await opened(endpoint)
    tasks = [task(each.request("tools/call", {"name": name})) for each in (first, second, first, second)]
    tasks.append(call(endpoint, name))
    await until(lambda: runs.begun == expected)
    await settle()
    runs.open.set()
    assert all("result" in answer.json for answer in await all_of(tasks))
    assert runs.begun == expected


async def test_arguments_of_another_type_or_order(endpoint: Endpoint, runs: Runs) -> None:
    arguments: list[Any] = [
        {"what": "1"},
        {"what": "2"},
        {"what": "1"},
        {"what": "1", "other": 1},
        {"other": 1, "what": "1"},
    ]
    tasks = [call(endpoint, "look", each) for each in arguments]
    await until(lambda: runs.begun == 3)
    await settle()
    runs.open.set()
    await all_of(tasks)
    assert runs.begun == 3


async def test_nothing_is_coalesced_by_default_if_the_setting_is_off(
    build_endpoint: BuildEndpoint, server: MCPServer[Any], runs: Runs
) -> None:
    endpoint = build_endpoint(server=server, coalesce=False)
    tasks = [*(read(endpoint) for _ in range(2)), *(call(endpoint) for _ in range(2))]
    await until(lambda: runs.begun == 3)
    await settle()
    runs.open.set()
    await all_of(tasks)
    assert runs.begun == 3, "a tool says so itself"


# -- what has changed since ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("user", "expected"), [(None, 2), ("bob", 1)])
async def test_a_read_after_a_change_of_its_caller_joins_no_run_from_before(
    user: str | None, expected: int, endpoint: Endpoint, runs: Runs
) -> None:
    before = read(endpoint)
    await until(lambda: runs.begun)
    await all_of([call(endpoint, "change", user=user)])
    after = read(endpoint)
    await settle()
    assert runs.begun == expected
    runs.open.set()
    await all_of([before, after])


async def test_a_read_after_a_change_notification_joins_no_run_from_before(endpoint: Endpoint, runs: Runs) -> None:
    before = read(endpoint, user="bob")
    await until(lambda: runs.begun)
    await endpoint.kernel.bus.publish(ResourceUpdated(URI))
    after = read(endpoint, user="bob")
    await until(lambda: runs.begun == 2)
    runs.open.set()
    await all_of([before, after])


# -- messages ------------------------------------------------------------------------------------------------


async def test_progress_goes_to_those_that_asked_for_it_each_with_its_token(endpoint: Endpoint, runs: Runs) -> None:
    asks = [{"progressToken": "a"}, None, {"progressToken": 2}]
    tasks = [call(endpoint, "report", id=number, meta=meta) for number, meta in enumerate(asks)]
    await until(lambda: runs.begun)
    await settle()
    runs.open.set()
    first, second, third = await all_of(tasks)
    assert runs.begun == 1
    assert second.json["id"] == 1
    for answer, token in ((first, "a"), (third, 2)):
        *progress, last = await answer.messages()
        assert {message["params"]["progressToken"] for message in progress} == {token}
        assert [message["params"]["progress"] for message in progress][-1] == 3
        assert "result" in last


async def test_a_client_that_does_not_read_holds_up_no_other(endpoint: Endpoint, gate: Gate, runs: Runs) -> None:
    """It misses messages; a single one holds up its handler."""

    async def flood(ctx: Context) -> str:
        await gate.pass_through()
        for step in range(100):
            await ctx.report_progress(step)
        return "flooded"

    declare(endpoint.kernel._declared, "flood", READS, flood)
    tasks = [call(endpoint, "flood", id=number, meta={"progressToken": number}) for number in (1, 2)]
    await gate.wait(gate.entered)
    await settle()
    gate.open.set()
    stopped, reader = await all_of(tasks)
    *progress, last = await reader.messages()
    assert last["result"] and len(progress) >= 16
    *progress, last = await stopped.messages()
    assert last["result"] and len(progress) >= 16


async def test_a_handler_that_asks_its_client_runs_for_each(endpoint: Endpoint, runs: Runs) -> None:
    client = await opened(endpoint)
    tasks = [task(client.call("ask", id=number)) for number in (1, 2, 3)]
    await until(lambda: runs.begun)
    await settle()
    assert runs.begun == 1
    runs.open.set()
    for answer in await all_of(tasks):
        asked = await answer.message()
        assert asked["method"] == "roots/list"
        await client.reply(asked["id"], {"roots": []})
        assert "result" in (await answer.messages())[-1]
    assert runs.begun == 3


# -- limits, timeouts and failures ---------------------------------------------------------------------------


async def test_a_failure_is_that_of_all_that_wait_and_of_no_later_one(endpoint: Endpoint, runs: Runs) -> None:
    runs.fails = True
    tasks = [call(endpoint, id=number) for number in range(3)]
    await until(lambda: runs.begun)
    await settle()
    runs.open.set()
    assert {answer.json["error"]["code"] for answer in await all_of(tasks)} == {4242}
    runs.fails = False
    [answer] = await all_of([call(endpoint)])
    assert "result" in answer.json and runs.begun == 2


async def test_each_has_its_own_timeout_and_a_run_that_has_exceeded_one_is_not_joined(
    endpoint: Endpoint, runs: Runs, clock: FakeClock
) -> None:
    first = call(endpoint, "brief")
    await until(lambda: runs.begun)
    await clock.advance(6)
    second = call(endpoint, "brief")
    await clock.advance(5)
    assert "did not end within 10 s" in str(await outcome(await first))
    third = call(endpoint, "brief")
    await until(lambda: runs.begun == 2)
    assert not runs.cancelled
    await clock.advance(6)
    assert "did not end within 10 s" in str(await outcome(await second))
    await until(lambda: runs.cancelled == 1)
    runs.open.set()
    assert "run 2" in str(await outcome(await third))


async def test_a_run_of_another_caller_that_waits_for_a_place_is_not_joined(
    build_endpoint: BuildEndpoint, server: MCPServer[Any], runs: Runs
) -> None:
    endpoint = build_endpoint(server=server, max_concurrent_calls=8, max_concurrent_calls_per_caller=1)
    greedy = [call(endpoint, "look", {"what": str(number)}, user="greedy") for number in range(3)]
    await until(lambda: runs.begun)
    greedy.append(call(endpoint, "public", user="greedy"))
    other = [call(endpoint, "public", user=user) for user in ("bob", "eve")]
    await until(lambda: runs.begun == 2)
    runs.open.set()
    assert all("result" in answer.json for answer in await all_of([*greedy, *other]))
    assert runs.begun == 5


# -- cancellation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_one_that_disconnects_takes_no_other_with_it(leaver: int, endpoint: Endpoint, runs: Runs) -> None:
    tasks = [call(endpoint, id=number) for number in range(3)]
    await until(lambda: runs.begun)
    await settle()
    tasks.pop(leaver).cancel()
    await settle()
    assert not runs.cancelled
    runs.open.set()
    assert all("result" in answer.json for answer in await all_of(tasks))
    assert runs.begun == 1


async def test_the_run_is_cancelled_when_the_last_one_leaves(endpoint: Endpoint, runs: Runs) -> None:
    tasks = [call(endpoint, id=number) for number in range(3)]
    await until(lambda: runs.begun)
    for each in tasks:
        await settle()
        assert not runs.cancelled
        each.cancel()
    await until(lambda: runs.cancelled == 1)
    [node] = endpoint.pool.nodes
    assert not node.shared_runs.by_owner


@pytest.mark.parametrize("leaves", [True, False])
async def test_the_first_may_end_before_its_task_has_begun(leaves: bool, endpoint: Endpoint, runs: Runs) -> None:
    runs.open.set()
    client = await opened(endpoint)
    [node] = endpoint.pool.nodes
    enter = node.shared_runs.enter

    def enter_and_leave(waiter: Any) -> Any:
        if (run := enter(waiter)) is not None and run.leader is waiter:
            asyncio.get_running_loop().call_soon(cast("Call", waiter).cancel_by_staff)
        return run

    node.shared_runs.enter = enter_and_leave  # type: ignore[method-assign]
    tasks = [task(client.request("resources/read", {"uri": URI}, id=number)) for number in range(1 if leaves else 3)]
    first, *others = [await outcome(answer) for answer in await all_of(tasks)]
    assert "error" in first and all("result" in each for each in others)
    assert not node.shared_runs.by_owner and not runs.running


class Waiter:
    """A client of a generated schedule."""

    def __init__(self, work: Awaitable[Answer]) -> None:
        self.work = asyncio.ensure_future(self._read(work))
        self.has_left = False
        """Has it disconnected or been cancelled?"""

    async def _read(self, work: Awaitable[Answer]) -> dict[str, Any]:
        answer = await work
        try:
            messages = [answer.json] if answer.stream is None else await answer.messages()
            return messages[-1] if messages else {}
        finally:
            if answer.stream is not None:
                answer.close()


class Schedule:
    """Has requests arrive, leave, be cancelled, time out and end in a random order; everyone must be answered."""

    def __init__(self, seed: int, endpoint: Endpoint, runs: Runs, clock: FakeClock) -> None:
        self.choose = random.Random(seed)  # noqa: S311 (no secret)
        self.endpoint, self.runs, self.clock = endpoint, runs, clock
        self.clients: list[SessionClient] = []
        self.waiters: list[Waiter] = []
        self.in_sessions: dict[tuple[SessionClient, int], Waiter] = {}

    async def play(self) -> None:
        self.clients += [await opened(self.endpoint) for _ in range(2)]
        steps = [*[self.arrive] * 8, *[self.leave] * 3, *[self.cancel] * 2]
        steps += [self.cancel_by_staff, self.let_through, self.outdate, self.wait]
        for _ in range(60):
            await self.choose.choice(steps)()
            for _ in range(self.choose.randrange(4)):
                await asyncio.sleep(0)
        if self.choose.random() < 0.5:
            self.runs.open.set()
        else:
            await self.endpoint.pool.stop()

    async def arrive(self) -> None:
        number, name = (
            len(self.waiters),
            self.choose.choice(("look", "public", "brief", "narrow", "report", "report")),
        )
        if self.choose.random() < 0.5:
            user = self.choose.choice((None, "bob"))
            self.waiters.append(Waiter(call(self.endpoint, name, id=number, user=user)))
        else:
            client = self.choose.choice(self.clients)
            self.waiters.append(Waiter(task(client.call(name, id=number))))
            self.in_sessions[client, number] = self.waiters[-1]

    async def leave(self) -> None:
        if pending := [waiter for waiter in self.waiters if not waiter.work.done()]:
            waiter = self.choose.choice(pending)
            waiter.has_left = True
            waiter.work.cancel()

    async def cancel(self) -> None:
        if self.in_sessions:
            client, number = self.choose.choice(list(self.in_sessions))
            self.in_sessions[client, number].has_left = True
            await client.notify("notifications/cancelled", {"requestId": number})

    async def cancel_by_staff(self) -> None:
        [node] = self.endpoint.pool.nodes
        if running := list(node.registry.running):
            self.choose.choice(running).cancel_by_staff()

    async def let_through(self) -> None:
        self.runs.fails = self.choose.random() < 0.3
        self.runs.open.set()
        await settle()
        self.runs.open.clear()

    async def outdate(self) -> None:
        await all_of([call(self.endpoint, "change")])

    async def wait(self) -> None:
        await self.clock.advance(self.choose.choice((0.5, 4, 11)))


@pytest.mark.parametrize("seed", range(40))
async def test_no_schedule_leaves_anything(seed: int, endpoint: Endpoint, runs: Runs, clock: FakeClock) -> None:
    schedule = Schedule(seed, endpoint, runs, clock)
    await schedule.play()
    async with asyncio.timeout(60):
        for waiter in schedule.waiters:
            await asyncio.wait([waiter.work])
            assert waiter.has_left or waiter.work.result().keys() & {"result", "error"}
    runs.open.set()
    await until(lambda: not runs.running)
    await settle()
    for node in endpoint.pool.nodes:
        # Streams, since replies may get lost between the server and a client that leaves, are closed by the fixture.
        left = {name: value for name, value in held_by(node).items() if value and name not in ("tasks", "streams")}
        assert not left and not node.shared_runs.by_owner


async def test_nobody_waits_after_the_node_has_stopped(endpoint: Endpoint, runs: Runs) -> None:
    client: SessionClient = await opened(endpoint)
    tasks = [task(client.request("resources/read", {"uri": URI}, id=number)) for number in range(1, 4)]
    tasks += [call(endpoint, id=number) for number in range(3)]
    await until(lambda: runs.begun == 2)
    await settle()
    await endpoint.pool.stop()
    for answer in await all_of(tasks):
        assert "the server stopped" in (await outcome(answer))["error"]["message"]
    assert not runs.running and runs.cancelled == 2
