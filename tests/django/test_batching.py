"""Batched tools: one run of a function for several calls, each of which stays a call of its own."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from types import ModuleType
from typing import Annotated, Any, NotRequired

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.models import Func, Value
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from mcp_transport import Batch, Context, metrics, tool
from mcp_transport.declarations import Declarations
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import DefinitionError
from mcp_transport.protocol.headers import CORRELATION_HEADERS
from mcp_transport.test import MCPClient
from tests.django.declared import ERAS, each_mode, later, response
from tests.support.calls import call, failure, listed, opened, returned
from tests.support.client import send_sessionless, text_of, until
from tests.support.clock import settle
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

ANN, BOB = User(pk=1, username="ann"), User(pk=2, username="bob")
FULL = 60_000
"""Milliseconds after which no test runs any more: such a batch runs when it is full."""

each_era = pytest.mark.parametrize("era", ERAS)
tenant: ContextVar[str] = ContextVar("tenant", default="none")
entered: list[str] = []


@dataclass
class Item:
    """What one call asks for."""

    number: int
    text: str = "x"
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.text == "refused":
            raise ValueError("this text is refused")


class Keys(TypedDict):
    number: Annotated[int, Field(ge=3, description="Which one.")]
    text: NotRequired[str]


class Model(BaseModel):
    number: int = Field(ge=3, description="Which one.")
    text: str = Field("x", alias="from")
    tags: list[str] = Field(default_factory=list)

    @field_validator("text")
    @classmethod
    def check(cls, value: str) -> str:
        if value == "refused":
            raise ValueError("this text is refused")
        return value


@pytest.fixture
def runs() -> list[list[int]]:
    """The numbers of the calls of each run."""
    return []


def numbers(runs: list[list[int]], is_async: bool, **options: Any) -> None:
    """Declare a batched tool that returns the number of each call."""

    def number(items: list[Item]) -> list[int]:
        """Return a number."""
        runs.append([item.number for item in items])
        return runs[-1]

    tool(batch=Batch(**{"max_wait_ms": FULL, **options}))(later(number) if is_async else number)


async def gathered(served: Endpoint, name: str, count: int, **options: Any) -> list[Any]:
    return await asyncio.gather(*(returned(served, name, {"number": index}, **options) for index in range(count)))


# -- declarations ----------------------------------------------------------------------------------------


SCHEMAS = [
    (Item, {}, ["number"], {"number", "text", "tags"}, "this text is refused", "text"),
    (Keys, {"minimum": 3, "description": "Which one."}, ["number"], {"number", "text"}, None, "text"),
    (Model, {"minimum": 3, "description": "Which one."}, ["number"], {"number", "from", "tags"}, "refused", "from"),
]


@pytest.mark.parametrize(("kind", "details", "required", "names", "fault", "text"), SCHEMAS)
async def test_the_schemas_are_those_of_one_call(
    serve: Serve, kind: Any, details: Any, required: Any, names: Any, fault: str | None, text: str
) -> None:
    def echo(items: list[Any]) -> list[Any]:
        assert all(isinstance(item, kind if kind is not Keys else dict) for item in items)
        return items

    echo.__annotations__ = {"items": list[kind], "return": list[kind | Exception]}
    tool(batch=Batch(max_wait_ms=0))(echo)
    served = serve()
    declared = await listed(served, "tools", "echo")
    assert declared["inputSchema"]["properties"].keys() == names
    assert declared["inputSchema"]["required"] == required
    assert declared["inputSchema"]["properties"]["number"] == {"title": "Number", "type": "integer", **details}
    assert set(declared["outputSchema"]["properties"]) >= {"number"}
    assert (await returned(served, "echo", {"number": 5, text: "y"}))["number"] == 5
    assert "number" in await failure(served, "echo", {"number": "five"})
    if fault is not None:
        assert fault in await failure(served, "echo", {"number": 5, text: "refused"})


async def test_an_argument_may_be_one_plain_value_and_the_function_an_odd_callable(serve: Serve) -> None:
    class Doubling:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def double(self, values: list[Annotated[int, Field(alias="value")]]) -> list[int]:
            return [value * self.factor for value in values]

    def add(values: list[int], more: int) -> list[int]:
        return [value + more for value in values]

    tool(batch=Batch(max_wait_ms=0))(Doubling(2).double)
    tool(batch=Batch(max_wait_ms=0), name="add")(partial(add, more=5))
    served = serve()
    assert await returned(served, "double", {"value": 4}) == 8
    assert await returned(served, "add", {"values": 4}) == 9


def no_list(items: int) -> list[int]: ...  # type: ignore[empty-body]
def bare_list(items: list) -> list[int]: ...  # type: ignore[empty-body,type-arg]
def untyped(items) -> list[int]: ...  # type: ignore[empty-body,no-untyped-def]
def nothing() -> list[int]: ...  # type: ignore[empty-body]
def two(items: list[int], others: list[int]) -> list[int]: ...  # type: ignore[empty-body]
def one_context(items: list[int], ctx: Context) -> list[int]: ...  # type: ignore[empty-body]
def one_result(items: list[int]) -> int: ...  # type: ignore[empty-body]
def unsendable(items: list[threading.Thread]) -> list[int]: ...  # type: ignore[empty-body]
def unsendable_result(items: list[int]) -> list[threading.Thread]: ...  # type: ignore[empty-body]


FORM = r"takes one list, as in items: list\[Item\], and may take contexts: list\[Context\]"


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (no_list, rf"{FORM}; the parameter 'items' must be annotated with list\[T\], .*, got int"),
        (bare_list, r"must be annotated with list\[T\], .*, got list"),
        (untyped, r"must be annotated with list\[T\], .*, got no annotation"),
        (nothing, f"{FORM}; its parameters are none"),
        (two, f"{FORM}; its parameters are items, others"),
        (one_context, r"the parameter 'ctx' must be annotated with list\[Context\]"),
        (one_result, r"annotate it with list\[R\], where R is the type of one result, got int"),
        (unsendable, "the parameter 'items' cannot be threading.Thread"),
        (unsendable_result, "the return type threading.Thread has no JSON form"),
    ],
)
def test_a_function_that_cannot_be_batched_is_refused(function: Callable[..., Any], fault: str) -> None:
    with pytest.raises(DefinitionError, match=rf"test_batching\.py:\d+: .*{function.__name__}: .*{fault}"):
        tool(batch=Batch())(function)


def test_options_that_make_no_sense_are_refused() -> None:
    def function(items: list[int]) -> list[int]:
        return items

    with pytest.raises(DefinitionError, match=r"batch must be a Batch, as in batch=Batch\(max_size=50\), got 50"):
        tool(batch=50)(function)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match=r"it must be max_size or more \(50\), got 2"):
        tool(batch=Batch(), max_concurrency=2)(function)


# -- runs ------------------------------------------------------------------------------------------------


@each_era
@each_mode
@pytest.mark.parametrize("is_fast", [True, False], ids=["fast path", "SDK path"])
async def test_calls_share_a_run_and_get_their_own_results(
    serve: Serve, settings: Any, era: str, is_async: bool, is_fast: bool, runs: list[list[int]]
) -> None:
    settings.MCP_TRANSPORT = {"FAST_PATH": is_fast}
    numbers(runs, is_async, max_size=5)
    served = serve()
    calls = (response(served, era, "tools/call", {"name": "number", "arguments": {"number": n}}) for n in range(5))
    if era == ERAS[0]:  # each of which opens a session of its own, and so has a run of its own
        session = await opened(served)
        calls = (session.call("number", {"number": n}) for n in range(5))
    answers = await asyncio.gather(*calls)
    bodies = [answer if isinstance(answer, dict) else answer.json for answer in answers]
    assert [body["result"]["structuredContent"]["result"] for body in bodies] == list(range(5))
    assert sorted(map(sorted, runs)) == [list(range(5))]


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("era", "is_async", "count"),
    [(ERAS[0], False, 200), (ERAS[0], True, 200), (ERAS[1], True, 200), (ERAS[1], False, 1000)],
)
def test_queries_of_up_to_1000_concurrent_calls(era: str, is_async: bool, count: int, settings: Any) -> None:
    """Each batch of 50 is one query; each single call is one."""
    settings.MCP_TRANSPORT = {"MAX_CONCURRENT_CALLS": 2000, "MAX_CONCURRENT_CALLS_PER_CALLER": 2000}
    ids = [user.pk for user in User.objects.bulk_create(User(username=f"u{n}") for n in range(10))]

    @tool
    def single(key: int) -> str:
        return User.objects.get(pk=key).username

    @tool
    async def single_async(key: int) -> str:
        return (await User.objects.aget(pk=key)).username

    @tool(batch=Batch(max_size=50, max_wait_ms=FULL))
    def batched(keys: list[Annotated[int, Field(alias="key")]]) -> list[str]:
        users = User.objects.in_bulk(keys)
        return [users[key].username for key in keys]

    @tool(batch=Batch(max_size=50, max_wait_ms=FULL))
    async def batched_async(keys: list[Annotated[int, Field(alias="key")]]) -> list[str]:
        users = await User.objects.ain_bulk(keys)
        return [users[key].username for key in keys]

    async def load(name: str) -> list[str]:
        async with MCPClient(protocol_version=era, session=era == ERAS[0]) as client:
            calls = (client.acall(name, key=ids[number % 10]) for number in range(count))
            return [result.result for result in await asyncio.gather(*calls)]

    queries = {}
    for name in ("single", "batched"):
        with CaptureQueriesContext(connection) as captured:
            names = async_to_sync(load)(f"{name}_async" if is_async else name)
        assert names == [f"u{number % 10}" for number in range(count)]
        queries[name] = len(captured)
    assert queries == {"single": count, "batched": count / 50}


async def test_a_run_of_a_plain_function_takes_one_thread_and_waiting_calls_none(
    serve: Serve, settings: Any, runs: list[list[int]]
) -> None:
    settings.MCP_TRANSPORT = {"TOOL_THREADS": 2, "MAX_QUEUED_CALLS": 0}
    numbers(runs, False, max_size=20)
    served = serve()
    first = [asyncio.ensure_future(returned(served, "number", {"number": n})) for n in range(19)]
    await until(lambda: served.pool.gauges().calls == 19)
    assert served.pool.gauges().threads == 0
    await returned(served, "number", {"number": 19})
    assert await asyncio.gather(*first) == list(range(19))
    assert [sorted(run) for run in runs] == [list(range(20))]


@pytest.mark.parametrize("limit", ["MAX_CONCURRENT_CALLS", "TOOL_THREADS"])
async def test_limits_refuse_calls_that_are_too_many(serve: Serve, settings: Any, limit: str) -> None:
    settings.MCP_TRANSPORT = {limit: 1, "MAX_QUEUED_CALLS": 0}
    begun, leave = threading.Event(), threading.Event()

    @tool(batch=Batch(max_size=1 if limit == "TOOL_THREADS" else 2, max_wait_ms=FULL))
    def wait(items: list[Item]) -> list[int]:
        begun.set()
        leave.wait(60)
        return [item.number for item in items]

    served = serve()
    first = asyncio.ensure_future(returned(served, "wait", {"number": 1}))
    await until(lambda: begun.is_set() or (limit != "TOOL_THREADS" and served.pool.gauges().calls == 1))
    answer = await send_sessionless(served, "tools/call", {"name": "wait", "arguments": {"number": 2}})
    assert answer.status in (429, 503)
    assert answer.json["error"]["data"]["limit"] == limit
    leave.set()
    if limit == "TOOL_THREADS":
        assert await first == 1
    first.cancel()


# -- callers ---------------------------------------------------------------------------------------------


def who(across_callers: bool = False, max_wait_ms: int = FULL) -> list[list[str]]:
    """Declare a tool whose function notes the callers of each run."""
    seen: list[list[str]] = []

    @tool(batch=Batch(max_size=4 if across_callers else 2, max_wait_ms=max_wait_ms, across_callers=across_callers))
    def caller(items: list[Item], contexts: list[Context]) -> list[str]:
        seen.append([ctx.user.username for ctx in contexts])
        return [f"{ctx.user.username} {item.number}" for item, ctx in zip(items, contexts, strict=True)]

    return seen


async def call_as(served: Endpoint, *users: User, name: str = "caller") -> list[str]:
    calls = (returned(served, name, {"number": n}, user=user) for n, user in enumerate(users))
    return list(await asyncio.gather(*calls))


async def test_callers_are_not_mixed_by_default(serve: Serve) -> None:
    seen = who()
    assert await call_as(serve(), ANN, BOB, ANN, BOB) == ["ann 0", "bob 1", "ann 2", "bob 3"]
    assert sorted(seen) == [["ann", "ann"], ["bob", "bob"]]


async def test_callers_are_mixed_if_the_tool_says_so_and_each_call_keeps_its_context(serve: Serve) -> None:
    seen = who(across_callers=True)
    assert await call_as(serve(), ANN, BOB, ANN, BOB) == ["ann 0", "bob 1", "ann 2", "bob 3"]
    assert sorted(map(sorted, seen)) == [["ann", "ann", "bob", "bob"]]


async def test_calls_whose_requests_differ_are_not_mixed(serve: Serve) -> None:
    seen = who(max_wait_ms=500)
    served = serve()
    german, traced = {"accept-language": "de"}, {"accept-language": "de", **dict.fromkeys(CORRELATION_HEADERS, "x")}
    headers: list[dict[str, str]] = [german, {"x-tenant": "a"}, traced, {"baggage": "tenant=a"}, {}]
    calls: list[Awaitable[Any]]
    calls = [returned(served, "caller", {"number": 1}, user=ANN, headers=item) for item in headers]
    meta = {"baggage": "tenant=a", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    others: list[dict[str, Any]] = [{"peer": "10.0.0.2"}, {"meta": meta}, {"meta": meta | {"traceparent": "x"}}]
    calls += [returned(served, "caller", {"number": 1}, user=ANN, headers=german, **item) for item in others]
    for language in ("de", "fr", "de"):
        with translation.override(language):  # as a project's middleware does
            calls.append(asyncio.create_task(returned(served, "caller", {"number": 1}, user=ANN)))
    await asyncio.gather(*calls)
    assert sorted(map(len, seen)) == [1, 1, 1, 1, 1, 2, 2, 2]


@contextmanager
def by_tenant(request: Any, principal: Any) -> Iterator[None]:
    entered.append(request.headers["X-Tenant"])
    token = tenant.set(request.headers["X-Tenant"])
    with translation.override("de"):
        yield
    tenant.reset(token)
    entered.append("left")


@each_mode
@pytest.mark.parametrize("across_callers", [False, True])
async def test_a_run_has_the_context_of_its_calls_and_a_mixed_one_has_none(
    serve: Serve, settings: Any, is_async: bool, across_callers: bool
) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{__name__}.by_tenant"}
    entered.clear()

    def where(items: list[Item]) -> list[str]:
        return [f"{tenant.get()} {translation.get_language()} {len(items)}" for _ in items]

    size = 4 if across_callers else 2
    batch = Batch(max_size=size, max_wait_ms=FULL, across_callers=across_callers)
    tool(batch=batch)(later(where) if is_async else where)
    served = serve()
    calls = (returned(served, "where", {"number": 1}, headers={"x-tenant": name}) for name in ("a", "b", "a", "b"))
    places = await asyncio.gather(*calls)
    if across_callers:
        assert places == ["none en-us 4"] * 4
        assert entered.count("left") == 4
    else:
        assert places == ["a de 2", "b de 2", "a de 2", "b de 2"]
        assert entered.count("a") == entered.count("b") == 3, "once for each call, and once for the run"
        assert entered.count("left") == 6


# -- failures --------------------------------------------------------------------------------------------


@each_mode
async def test_a_failed_call_does_not_hurt_its_neighbours(
    serve: Serve, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    results: dict[int, Any] = {
        0: 0,
        1: ToolError("there is none"),
        2: LookupError("secret"),
        3: "no number",
        4: float("nan"),
        5: MCPError(-32000, "refused"),
        6: asyncio.CancelledError(),
        7: 7,
    }

    def odd(items: list[Item]) -> list[int | Exception]:
        return [results[item.number] for item in items]

    tool(batch=Batch(max_size=8, max_wait_ms=FULL))(later(odd) if is_async else odd)
    served = serve()
    answers = await asyncio.gather(
        *(send_sessionless(served, "tools/call", {"name": "odd", "arguments": {"number": n}}) for n in range(8))
    )
    failed = [answer.json.get("error", answer.json.get("result", {})) for answer in answers]
    assert [item.get("isError", False) for item in failed] == [False, True, True, True, True, False, True, False]
    texts = [item.get("content", [{"text": item.get("message")}])[0]["text"] for item in failed]
    assert texts[1] == "Error executing tool odd: there is none"
    assert texts[2] == texts[3] == texts[6] == "Error executing tool odd"
    assert "not a JSON number" in texts[4]
    assert texts[5] == "refused"
    assert (texts[0], texts[7]) == ("0", "7")


@each_mode
async def test_a_function_may_empty_its_list(serve: Serve, is_async: bool) -> None:
    def pop(items: list[Item]) -> list[int]:
        results = []
        while items:
            results.append(items.pop(0).number)
        return results

    tool(batch=Batch(max_size=3, max_wait_ms=FULL))(later(pop) if is_async else pop)
    assert await gathered(serve(), "pop", 3) == [0, 1, 2]


@each_mode
async def test_one_exception_for_many_calls_does_not_grow(serve: Serve, is_async: bool) -> None:
    """A constant, such as `NOT_FOUND`, would keep the frames of each call that has raised it."""
    constant = ToolError("there is none")

    def none(items: list[Item]) -> list[int | Exception]:
        return [constant for _ in items]

    tool(batch=Batch(max_size=2, max_wait_ms=FULL))(later(none) if is_async else none)
    served, depths = serve(), set[int]()
    for _ in range(3):
        await asyncio.gather(*(failure(served, "none", {"number": number}) for number in range(2)))
        depths.add(sum(1 for _ in traceback.walk_tb(constant.__traceback__)))
    assert len(depths) == 1


@each_mode
async def test_a_call_that_ends_with_an_exit_is_logged_with_its_place(
    serve: Serve, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def exiting(items: list[Item]) -> list[int]:
        raise SystemExit

    tool(batch=Batch(max_wait_ms=0))(later(exiting) if is_async else exiting)
    await failure(serve(), "exiting", {"number": 1})
    assert "in exiting" in caplog.text


@each_mode
@pytest.mark.parametrize("fault", ["raises", "too few", "no list", "tool error"])
async def test_a_run_that_fails_is_an_error_of_each_call_and_is_logged_once(
    serve: Serve, is_async: bool, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mcp_transport")

    def broken(items: list[Item]) -> Any:
        if fault == "raises":
            raise LookupError("secret")
        if fault == "tool error":
            raise ToolError("closed today")
        return [1, 2] if fault == "too few" else {"1": 1}

    broken.__annotations__["return"] = list[int]
    tool(batch=Batch(max_size=3, max_wait_ms=FULL))(later(broken) if is_async else broken)
    served = serve()
    texts = await asyncio.gather(*(failure(served, "broken", {"number": n}) for n in range(3)))
    assert all("secret" not in text and text.startswith("Error executing tool broken") for text in texts)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    if fault == "tool error":
        assert texts == ["Error executing tool broken: closed today"] * 3
        assert not errors
    else:
        assert len(errors) == 1
        expected = {"too few": "expected 3, got 2", "no list": "expected a list of 3, got dict"}
        assert expected.get(fault, "secret") in caplog.text


@pytest.mark.usefixtures("transactional_db")
async def test_results_of_the_wrong_number_roll_a_transaction_back(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    counts: list[int] = []

    @tool(batch=Batch(max_size=2, max_wait_ms=FULL))
    def write(names: list[Annotated[str, Field(alias="name")]]) -> list[int]:
        assert transaction.get_connection().in_atomic_block
        User.objects.bulk_create(User(username=name) for name in names)
        counts.append(User.objects.count())
        return [1] * (2 if "good" in names else 1)

    served = serve()
    await asyncio.gather(*(call(served, "write", {"name": name}) for name in ("a", "b")))
    await asyncio.gather(*(call(served, "write", {"name": name}) for name in ("good", "c")))
    assert counts == [2, 2]
    assert await sync_to_async(User.objects.count)() == 2


@pytest.mark.usefixtures("transactional_db")
@pytest.mark.parametrize("is_atomic", [True, False])
async def test_a_lazy_result_that_fails_in_a_transaction_fails_the_run(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, is_atomic: bool
) -> None:
    """PostgreSQL refuses what follows such an error, and commits nothing."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", is_atomic)

    @tool(batch=Batch(max_size=2, max_wait_ms=FULL))
    def write(names: list[Annotated[str, Field(alias="name")]]) -> list[list[str]]:
        User.objects.bulk_create(User(username=name) for name in names)
        users, broken = User.objects.values_list("username", flat=True), Func(Value(1), function="no_such_function")
        return [users.order_by(broken) if name == "bad" else users for name in names]  # type: ignore[misc]

    served = serve()
    results = await asyncio.gather(*(call(served, "write", {"name": name}) for name in ("bad", "good")))
    assert [bool(result["isError"]) for result in results] == [True, is_atomic]
    assert await sync_to_async(User.objects.count)() == (0 if is_atomic else 2)


# -- cancellation, timeouts, the end ---------------------------------------------------------------------


async def cancel(client: Any, number: int) -> None:
    await client.notify("notifications/cancelled", {"requestId": number})


@each_mode
async def test_cancelled_calls_leave_their_batch_and_the_last_one_ends_the_run(serve: Serve, is_async: bool) -> None:
    runs: list[list[int]] = []
    left, leave = threading.Event(), threading.Event()
    ended: list[str] = []

    def wait(items: list[Item], contexts: list[Context]) -> list[int]:
        runs.append([item.number for item in items])
        while not leave.is_set() and not all(ctx.cancelled for ctx in contexts):
            leave.wait(0.01)
        left.set()
        return runs[-1]

    async def wait_async(items: list[Item], contexts: list[Context]) -> list[int]:
        runs.append([item.number for item in items])
        try:
            await until(leave.is_set)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        finally:
            left.set()
        return runs[-1]

    tool(batch=Batch(max_size=3, max_wait_ms=FULL), name="wait")(wait_async if is_async else wait)
    served = serve()
    client = await opened(served)
    early = asyncio.ensure_future(client.call("wait", {"number": 9}, id=100))
    await until(lambda: served.pool.gauges().calls == 1)
    await cancel(client, 100)
    await until(lambda: served.pool.gauges().calls == 0)
    calls = [asyncio.ensure_future(client.call("wait", {"number": n}, id=200 + n)) for n in range(3)]
    await until(lambda: runs)
    assert sorted(runs[0]) == [0, 1, 2], "the call that was cancelled before is not in it"
    first = runs[0][0]
    await cancel(client, 200 + first)
    await until(lambda: served.pool.gauges().calls == 2)
    leave.set()
    answers = {n: await call for n, call in enumerate(calls) if n != first}
    assert {n: text_of(answer.json) for n, answer in answers.items()} == {n: str(n) for n in range(3) if n != first}
    assert not ended
    leave.clear()
    left.clear()
    calls += [asyncio.ensure_future(client.call("wait", {"number": n}, id=300 + n)) for n in range(3)]
    await until(lambda: len(runs) == 2)
    for n in range(3):
        await cancel(client, 300 + n)
    await until(left.is_set)
    await until(lambda: served.pool.gauges().threads == 0)
    assert ended == (["cancelled"] if is_async else [])
    for task in (early, *calls):
        task.cancel()


def gated(gates: list[threading.Event], is_async: bool) -> list[list[int]]:
    """Declare a batched tool of which each run waits for a gate of its own; return the calls of each run."""
    runs: list[list[int]] = []

    def work(items: list[Item], contexts: list[Context]) -> list[int | Exception]:
        gate = gates[len(runs)]
        runs.append([item.number for item in items])
        while not gate.is_set() and not all(ctx.cancelled for ctx in contexts):
            gate.wait(0.01)
        return [ToolError("odd") if item.number % 5 == 1 else item.number for item in items]

    async def work_async(items: list[Item], contexts: list[Context]) -> list[int | Exception]:
        gate = gates[len(runs)]
        runs.append([item.number for item in items])
        await until(gate.is_set)
        return [ToolError("odd") if item.number % 5 == 1 else item.number for item in items]

    tool(batch=Batch(max_size=4, max_wait_ms=2), name="work")(work_async if is_async else work)
    return runs


@each_mode
@pytest.mark.parametrize("seed", range(3))
async def test_random_cancellations_leave_nothing_and_cost_no_other_call_its_answer(
    serve: Serve, is_async: bool, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    gates = [threading.Event() for _ in range(40)]
    runs = gated(gates, is_async)
    served = serve()
    client = await opened(served)
    calls: dict[int, asyncio.Future[Any]] = {}
    cancelled: set[int] = set()
    for number in range(40):
        calls[number] = asyncio.ensure_future(client.call("work", {"number": number}, id=number))
        if chance.random() < 0.5:
            await settle()
        if chance.random() < 0.4 and not calls[victim := chance.randrange(number + 1)].done():
            cancelled.add(victim)
            await cancel(client, victim)
        if chance.random() < 0.3:
            gates[chance.randrange(40)].set()
    for gate in gates:
        gate.set()
    await until(lambda: not served.pool.gauges().calls and not served.pool.gauges().threads)
    for number in calls.keys() - cancelled:
        text = text_of((await calls[number]).json)
        assert text == ("Error executing tool work: odd" if number % 5 == 1 else str(number))
    ran = [number for run in runs for number in run]
    assert len(ran) == len(set(ran))
    assert set(ran) >= calls.keys() - cancelled
    for pending in calls.values():
        pending.cancel()
    await settle()
    assert not [task for task in asyncio.all_tasks() if "Batcher" in repr(task.get_coro())]


@each_mode
async def test_a_call_that_ends_while_its_client_is_asked_holds_up_no_other(serve: Serve, is_async: bool) -> None:
    faults: list[str] = []

    async def ask_one(ctx: Context) -> str:
        try:
            return str((await ctx.list_roots()).roots)
        except MCPError as error:
            faults.append(error.error.message)
            return "gone"

    async def ask(items: list[Item], contexts: list[Context]) -> list[str]:
        return [await ask_one(ctx) for ctx in contexts]

    def ask_in_thread(items: list[Item], contexts: list[Context]) -> list[str]:
        return [async_to_sync(ask_one)(ctx) for ctx in contexts]

    tool(name="ask", batch=Batch(max_size=2, max_wait_ms=FULL))(ask if is_async else ask_in_thread)
    client = await opened(serve())
    first, second = [asyncio.ensure_future(client.call("ask", {"number": n}, id=n)) for n in (1, 2)]
    await (await first).message()
    await cancel(client, 1)
    answer = await second
    await client.reply((await answer.message())["id"], {"roots": []})
    assert text_of((await answer.messages())[-1]) == "[]"
    assert faults == ["roots/list gets no reply: its call has ended"]


@each_mode
async def test_calls_of_a_batch_time_out_and_end_its_run(serve: Serve, is_async: bool) -> None:
    left, done = threading.Event(), threading.Event()

    def slow(items: list[Item], contexts: list[Context]) -> list[int]:
        while not all(ctx.cancelled for ctx in contexts):
            done.wait(0.01)
        left.set()
        return [item.number for item in items]

    async def slow_async(items: list[Item]) -> list[int]:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return [item.number for item in items]

    tool(batch=Batch(max_size=2, max_wait_ms=1), name="slow", timeout=0.05)(slow_async if is_async else slow)
    served = serve()
    texts = await asyncio.gather(*(failure(served, "slow", {"number": n}) for n in range(2)))
    assert all("it did not end within 0.05 s" in text for text in texts)
    await until(left.is_set)


@each_mode
async def test_a_node_that_stops_ends_waiting_and_running_batches(serve: Serve, is_async: bool) -> None:
    begun, leave = threading.Event(), threading.Event()

    def wait(items: list[Item], contexts: list[Context]) -> list[int]:
        begun.set()
        while not all(ctx.cancelled for ctx in contexts):
            leave.wait(0.01)
        return [item.number for item in items]

    async def wait_async(items: list[Item]) -> list[int]:
        begun.set()
        await asyncio.Event().wait()
        return [item.number for item in items]

    tool(batch=Batch(max_size=2, max_wait_ms=FULL), name="wait")(wait_async if is_async else wait)
    served = serve()
    session = await opened(served)
    calls = [asyncio.ensure_future(session.call("wait", {"number": n})) for n in range(3)]
    await until(begun.is_set)
    await served.pool.stop()
    answers = [await call for call in calls]
    assert all("error" in answer.json for answer in answers)
    running = [task for task in asyncio.all_tasks() if "Batcher" in repr(task.get_coro())]
    assert not running


# -- around it -------------------------------------------------------------------------------------------


async def test_batches_are_counted(serve: Serve, runs: list[list[int]]) -> None:
    numbers(runs, True, max_size=3)
    await gathered(serve(), "number", 6)
    families = {family.name: family for family in metrics._metric_families(serve())}
    sizes = {(item.name, item.labels.get("le")): item.value for item in families["mcp_transport_batch_calls"].samples}
    assert sizes["mcp_transport_batch_calls_bucket", "2.0"] == 0
    assert sizes["mcp_transport_batch_calls_bucket", "5.0"] == sizes["mcp_transport_batch_calls_count", None] == 2
    assert sizes["mcp_transport_batch_calls_sum", None] == 6
    assert serve().call_metrics.since_start().batches == {"batches": 2, "calls": 6}
    waits = {item.name: item.value for item in families["mcp_transport_batch_wait_seconds"].samples}
    assert waits["mcp_transport_batch_wait_seconds_count"] == 6


@pytest.mark.parametrize("is_fast", [True, False], ids=["fast path", "SDK path"])
async def test_a_server_of_the_project_may_have_batched_tools(
    serve: Serve, settings: Any, monkeypatch: pytest.MonkeyPatch, declarations: Declarations, is_fast: bool
) -> None:
    module = ModuleType("a_projects_server")
    settings.MCP_TRANSPORT = {"SERVER": f"{module.__name__}.server", "FAST_PATH": is_fast}
    runs: list[list[int]] = []
    numbers(runs, False, max_size=3)
    adapted = declarations.tools["number"]
    server: MCPServer[Any] = MCPServer("own", tools=[adapted])
    server.add_tool(adapted.fn, name="same")
    monkeypatch.setattr(module, "server", server, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert await gathered(serve(), "number", 3) == [0, 1, 2]
    assert "refused" in await failure(serve(), "same", {"number": 1, "text": "refused"})
    calls = [returned(serve(), name, {"number": number}) for number, name in enumerate(("same", "number", "same"))]
    assert await asyncio.gather(*calls) == [0, 1, 2]
    assert [sorted(run) for run in runs] == [[0, 1, 2]] * 2, "both names share batches, and a refused item has none"


def test_a_command_and_the_client_for_tests_call_batched_tools(runs: list[list[int]]) -> None:
    numbers(runs, False, max_wait_ms=1)
    out = StringIO()
    call_command("mcp_tools", "call", "number", "number=3", stdout=out)
    assert out.getvalue().strip().startswith("3")
    with MCPClient() as client:
        assert client.call("number", number=4).result == 4
    assert runs == [[3], [4]]


def test_the_declared_function_stays_a_plain_function() -> None:
    @tool(batch=Batch())
    def double(values: list[int]) -> list[int]:
        return [2 * value for value in values]

    assert double([1, 2]) == [2, 4]


@pytest.mark.usefixtures("transactional_db")
async def test_a_plain_function_that_returns_a_coroutine_is_awaited(serve: Serve) -> None:
    async def work(items: list[Item]) -> list[Any]:
        return [user async for user in User.objects.all()] + [item.number for item in items]

    @tool(batch=Batch(max_wait_ms=0))
    def wrapper(items: list[Item]) -> list[int]:
        return work(items)  # type: ignore[return-value]

    assert await returned(serve(), "wrapper", {"number": 5}) == 5
