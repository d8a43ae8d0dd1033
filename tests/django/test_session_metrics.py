"""What Prometheus reads of sessions, memory and tools: known numbers, and only names of tools that exist."""

from __future__ import annotations

import asyncio
import random
import string
import time
from typing import Any

import pytest
from prometheus_client import Metric, exposition
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from mcp_transport import metrics, tool
from mcp_transport.backends.records import SessionCounts
from mcp_transport.domain.history import Ending
from mcp_transport.domain.metrics import MAX_OPERATIONS
from mcp_transport.metrics import EndpointCollector
from tests.support.calls import opened
from tests.support.client import send_sessionless, until
from tests.support.clock import settle
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

HOSTILE = ['"', "\\", "\n", "{}", "a" * 90, "é" * 20, "\0", "search\n", " search", "Search", 'x",era="y']


def scraped() -> dict[str, Metric]:
    return {family.name: family for family in EndpointCollector().collect()}


def counts(families: dict[str, Metric]) -> dict[tuple[str, str], float]:
    """Return the number of calls by tool and era."""
    samples = families["mcp_transport_tool_seconds"].samples
    return {(s.labels["tool"], s.labels["era"]): s.value for s in samples if s.name.endswith("_count")}


async def test_sessions_are_counted_and_what_is_unknown_has_no_sample(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [await opened(serve()) for _ in range(3)]
    await clients[0].delete()
    families = scraped()
    for name in ("sessions", "node_sessions"):
        assert [sample.value for sample in families[f"mcp_transport_{name}"].samples] == [2]
    monkeypatch.setattr(type(serve().backend.bus), "session_counts", lambda bus: SessionCounts(served=7))
    assert scraped()["mcp_transport_sessions"].samples == []
    assert [sample.value for sample in scraped()["mcp_transport_node_sessions"].samples] == [7]


@pytest.mark.parametrize(("resident", "limit"), [(5_000_000, 10_000_000), (5_000_000, None), (None, None)])
def test_memory_and_its_limit_are_gauges_if_they_are_known(
    resident: int | None, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "resident_bytes", lambda: resident)
    monkeypatch.setattr(metrics, "memory_limit_bytes", lambda: limit)
    families = scraped()
    for name, value in (("memory_bytes", resident), ("memory_limit_bytes", limit)):
        samples = [sample.value for sample in families[f"mcp_transport_{name}"].samples]
        assert samples == ([] if value is None else [value])


async def test_calls_of_both_eras_count_by_tool_with_their_durations(serve: Serve) -> None:
    tool(name="search")(lambda: "found")
    client = await opened(serve())
    for _ in range(2):
        await client.call("search")
    await send_sessionless(serve(), "tools/call", {"name": "search", "arguments": {}})
    await client.request("tools/list")
    await settle()
    families = scraped()
    assert counts(families) == {("search", "session"): 2, ("search", "sessionless"): 1}
    buckets = [
        (sample.labels["le"], sample.value)
        for sample in families["mcp_transport_tool_seconds"].samples
        if sample.labels["era"] == "session" and sample.name.endswith("_bucket")
    ]
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    assert buckets[-1] == ("+Inf", 2)


async def test_names_that_clients_invent_add_no_label(serve: Serve, settings: Any) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    @tool(name="search")
    async def wait() -> str:
        entered.set()
        await leave.wait()
        return "found"

    settings.MCP_TRANSPORT = {"MAX_CONCURRENT_CALLS": 1}
    client = await opened(serve())
    holder = asyncio.ensure_future(client.call("search"))
    async with asyncio.timeout(60):
        await entered.wait()
        # They wait, and are cancelled before anything could tell that there is no such tool.
        waiting = [asyncio.ensure_future(send_sessionless(serve(), "tools/call", {"name": name})) for name in HOSTILE]
        waiting += [asyncio.ensure_future(send_sessionless(serve(), f"m/{number}", {})) for number in range(5)]
        await until(lambda: serve().pool.gauges().waiting_calls > 8)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        leave.set()
        await holder
    chooser = random.Random(7)  # noqa: S311
    names = ["".join(chooser.choices(string.printable, k=chooser.randint(1, 60))) for _ in range(300)]
    for name in [*HOSTILE, *names]:
        await client.call(name)
    await settle()
    families = scraped()
    assert {name for name, _ in counts(families)} <= {"search", "other"}
    operations = {sample.labels["operation"] for sample in families["mcp_transport_call_seconds"].samples}
    assert operations == {"tools/call", "tools/call search", "unknown"}


async def test_a_scrape_of_as_many_tools_as_there_can_be_is_limited_and_readable(serve: Serve) -> None:
    for number in range(3 * MAX_OPERATIONS):
        for version in ("2025-11-25", "2026-07-28"):
            operation = f"tools/call tool {number}"
            serve().call_metrics.record_call(operation, version, time.time(), 0.1, Ending.OK)
    registry = CollectorRegistry()
    registry.register(EndpointCollector())
    text = exposition.generate_latest(registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    found = counts(families)
    assert len({name for name, _ in found}) == MAX_OPERATIONS + 1
    assert sum(found.values()) == 6 * MAX_OPERATIONS
    assert found["other", "session"] == 2 * MAX_OPERATIONS
