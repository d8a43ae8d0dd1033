"""Circuit breakers of declared tools: declarations, threads, callers without access, and what Prometheus reads."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from mcp.server.mcpserver.exceptions import ToolError

from mcp_transport import Batch, CircuitBreaker, tool
from mcp_transport.domain.node_messages import CircuitOpened
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import DefinitionError
from mcp_transport.metrics import EndpointCollector
from tests.django.declared import each_mode, later
from tests.support.calls import failure, opened, returned
from tests.support.client import text_of, until
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

BREAKER = CircuitBreaker(min_calls=2)
FULL = 60_000
"""Milliseconds after which no test runs any more: such a batch runs when it is full."""
FAULT = "circuit_breaker must be a CircuitBreaker or True, got"


class Adding:
    """What may be declared, besides functions."""

    def __call__(self, number: Any) -> Any:
        return number + 1

    def method(self, number: int) -> int:
        return number + 1


async def add_later(number: int) -> int:
    return number + 1


def counted(served: Endpoint, name: str) -> tuple[int, int]:
    """Return the calls and failures in the window of a tool."""
    _, circuit = served.breakers._circuits[name]
    return sum(calls for _, calls, _ in circuit.counts), sum(failures for _, _, failures in circuit.counts)


def scraped() -> dict[str, dict[str, float]]:
    """Return the metrics of circuit breakers, by tool."""
    prefix, found = "mcp_transport_circuit_breaker_", dict[str, dict[str, float]]()
    for family in EndpointCollector().collect():
        if family.name.startswith(prefix):
            samples = [item for item in family.samples if not item.name.endswith("_created")]
            found[family.name.removeprefix(prefix)] = {item.labels["tool"]: item.value for item in samples}
    return found


@pytest.mark.parametrize("value", [1, "yes", {"window": 30}, CircuitBreaker])
def test_anything_but_a_circuit_breaker_is_refused(value: Any) -> None:
    with pytest.raises(DefinitionError, match=FAULT):

        @tool(circuit_breaker=value)
        def broken() -> str:
            return ""


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_declared_tool_is_refused_while_it_fails(serve: Serve, kind: str) -> None:
    class Away(ToolError):
        pass

    errors: dict[str, Exception] = {"away": Away("away"), "unknown": ToolError("no such SKU"), "crash": KeyError()}

    def stock(sku: str) -> int:
        if sku in errors:
            raise errors[sku]
        return 3

    async def stock_async(sku: str) -> int:
        return stock(sku)

    function: Any = stock if kind == "def" else stock_async
    tool(name="stock", circuit_breaker=CircuitBreaker(min_calls=2, failures=(ConnectionError, Away)))(function)
    assert await returned(serve(), "stock", {"sku": "mug"}) == 3
    for sku in ("unknown", "crash", "away"):
        assert await failure(serve(), "stock", {"sku": sku})
    assert scraped() == {"state": {"stock": 0}, "opened": {"stock": 0}, "refused": {"stock": 0}}
    for _ in range(2):
        assert "away" in await failure(serve(), "stock", {"sku": "away"})
    answer = await (await opened(serve())).call("stock", {"sku": "mug"})
    assert answer.json["error"]["data"]["limit"] == "circuit_breaker"
    assert scraped() == {"state": {"stock": 2}, "opened": {"stock": 1}, "refused": {"stock": 1}}


async def test_true_means_the_defaults_and_false_none(serve: Serve) -> None:
    @tool(circuit_breaker=True)
    def with_defaults() -> str:
        raise OSError

    @tool(circuit_breaker=False)
    def without() -> str:
        raise OSError

    for _ in range(9):
        await failure(serve(), "with_defaults")
    assert serve().breakers.states() == {"with_defaults": "closed"}
    await failure(serve(), "with_defaults")
    assert serve().breakers.states() == {"with_defaults": "open"}
    for _ in range(12):
        await failure(serve(), "without")


async def test_calls_that_wait_for_a_thread_do_not_run_any_more_when_it_opens(serve: Serve, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"TOOL_THREADS": 2}
    begun, go_on = list[int](), threading.Event()

    @tool(circuit_breaker=BREAKER)
    def ask(number: int) -> str:
        begun.append(number)
        go_on.wait(20)
        return "asked"

    served = serve()
    client, other = await opened(served), await opened(served)
    calls = [asyncio.ensure_future(item.call("ask", {"number": 1})) for item in (client, client, other, other)]
    await until(lambda: len(begun) == 2 and served.pool.gauges().waiting_calls == 2)
    served.breakers.receive(CircuitOpened("ask", 5.0), BREAKER)
    go_on.set()
    answers = [(await work).json for work in calls]
    assert [("error" in answer) for answer in answers].count(True) == 2
    errors = [answer["error"]["data"]["limit"] for answer in answers if "error" in answer]
    assert errors == ["circuit_breaker"] * 2
    assert len(begun) == 2
    assert (served.pool.gauges().threads, served.pool.gauges().waiting_calls) == (0, 0)


async def test_a_timeout_counts_only_if_the_function_was_called(serve: Serve, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"TOOL_THREADS": 1}
    go_on, begun = threading.Event(), threading.Event()

    @tool(circuit_breaker=CircuitBreaker(min_calls=1), timeout=0.05)
    def slow(name: str) -> str:
        begun.set()
        go_on.wait(20)
        return "late"

    @tool
    def holds() -> str:
        begun.set()
        go_on.wait(20)
        return "done"

    client = await opened(serve())
    holding = asyncio.ensure_future(client.call("holds"))
    await until(begun.is_set)
    assert "did not end within" in await failure(serve(), "slow", {"name": "waits"})
    assert serve().breakers.states() == {"slow": "closed"}
    go_on.set()
    assert text_of((await holding).json) == "done"
    go_on.clear()
    assert "did not end within" in await failure(serve(), "slow", {"name": "runs"})
    assert serve().breakers.states() == {"slow": "open"}
    go_on.set()
    await until(lambda: not serve().pool.gauges().lost_threads)


async def test_a_caller_without_access_does_not_learn_that_it_is_open(serve: Serve) -> None:
    @tool(circuit_breaker=BREAKER, visible=lambda principal: bool(principal.name))
    async def hidden() -> str:
        raise ConnectionError

    for _ in range(2):
        await failure(serve(), "hidden", user=User(pk=1, username="ann"))
    assert serve().breakers.states() == {"hidden": "open"}
    client = await opened(serve())
    error = (await client.call("hidden")).json["error"]
    assert error == {"code": -32602, "message": "Unknown tool: hidden"}
    assert scraped()["refused"] == {"hidden": 0}


@pytest.mark.parametrize("function", [Adding(), Adding().method, partial(Adding().method), async_to_sync(add_later)])
async def test_any_callable_may_have_one(serve: Serve, function: Any) -> None:
    tool(name="add", circuit_breaker=True)(function)
    assert await returned(serve(), "add", {"number": 1}) == 2
    assert counted(serve(), "add") == (1, 0)


# -- batched tools -------------------------------------------------------------------------------------------


def keep(numbers: list[int]) -> list[int | Exception]:
    """Return the numbers, unless one is 13; 7 fails for itself."""
    if 13 in numbers:
        raise ConnectionError
    return [LookupError() if number == 7 else number for number in numbers]


async def batch_of(served: Endpoint, *numbers: Any) -> list[Any]:
    client = await opened(served)
    return await asyncio.gather(*(client.call("keep", {"numbers": number}) for number in numbers))


@each_mode
async def test_each_call_of_a_batch_counts_and_a_failed_run_is_a_failure_of_each(
    serve: Serve, is_async: bool
) -> None:
    options = {"batch": Batch(max_size=3, max_wait_ms=FULL), "circuit_breaker": CircuitBreaker(min_calls=5)}
    tool(**options)(later(keep) if is_async else keep)  # type: ignore[call-overload]
    served = serve()
    await batch_of(served, 1, 7, 3)
    assert counted(served, "keep") == (3, 1)
    await batch_of(served, 1, 13, 3)
    assert served.breakers.states() == {"keep": "open"}


async def test_arguments_that_an_item_refuses_do_not_count(serve: Serve) -> None:
    @dataclass
    class Item:
        number: int

        def __post_init__(self) -> None:
            raise (ValueError if self.number else TypeError)("refused")

    def keep(items: list[Any]) -> list[int]:
        return [item.number for item in items]

    keep.__annotations__["items"] = list[Item]
    tool(batch=Batch(max_wait_ms=0), circuit_breaker=True)(keep)
    for number in (0, 1):
        await failure(serve(), "keep", {"number": number})
    assert counted(serve(), "keep") == (0, 0)


@each_mode
async def test_a_timeout_counts_only_once_the_batch_runs(serve: Serve, is_async: bool) -> None:
    go_on = threading.Event()

    def keep(numbers: list[int]) -> list[int]:
        go_on.wait(20)
        return numbers

    async def keep_later(numbers: list[int]) -> list[int]:
        await asyncio.Event().wait()
        return numbers

    batch, breaker = Batch(max_size=2, max_wait_ms=FULL), CircuitBreaker(min_calls=1)
    tool(name="keep", batch=batch, circuit_breaker=breaker, timeout=0.05)(keep_later if is_async else keep)
    served = serve()
    await batch_of(served, 1)
    assert served.breakers.states() == {"keep": "closed"}
    await batch_of(served, 1, 2)
    assert served.breakers.states() == {"keep": "open"}
    go_on.set()
    await until(lambda: not served.pool.gauges().lost_threads)


@each_mode
async def test_a_batch_that_waits_when_it_opens_does_not_run(serve: Serve, is_async: bool) -> None:
    runs: list[int] = []

    def keep(numbers: list[int]) -> list[int]:
        runs.extend(numbers)
        return numbers

    breaker = CircuitBreaker()
    options = {"batch": Batch(max_size=9, max_wait_ms=50), "circuit_breaker": breaker}
    tool(**options)(later(keep) if is_async else keep)  # type: ignore[call-overload]
    served = serve()
    waiting = asyncio.ensure_future(batch_of(served, 1, 2))
    await until(lambda: served.pool.gauges().calls == 2)
    served.breakers.receive(CircuitOpened("keep", 5.0), breaker)
    answers = [answer.json["error"]["data"]["limit"] for answer in await waiting]
    assert (answers, runs) == (["circuit_breaker"] * 2, [])
