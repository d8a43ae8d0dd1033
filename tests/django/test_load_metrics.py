"""What Prometheus reads of load: what waits and how long, threads in use and lost, refusals by their limit."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from prometheus_client import Metric

from mcp_transport import tool
from mcp_transport.metrics import EndpointCollector
from tests.support.calls import opened
from tests.support.client import until
from tests.support.clock import settle
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


async def scraped() -> dict[str, Metric]:
    return {family.name: family for family in EndpointCollector().collect()}


async def test_waits_are_a_histogram_of_the_calls_that_waited(serve: Serve) -> None:
    assert (await scraped())["mcp_transport_wait_seconds"].samples[-2].value == 0
    for seconds in (0.004, 0.09, 7.0):
        serve().call_metrics.record_wait(seconds)
    samples = (await scraped())["mcp_transport_wait_seconds"].samples
    buckets = {sample.labels["le"]: sample.value for sample in samples if sample.name.endswith("_bucket")}
    assert [buckets[bound] for bound in ("0.005", "0.1", "5.0", "10.0", "+Inf")] == [1, 2, 2, 3, 3]
    assert [sample.value for sample in samples[-2:]] == [3, pytest.approx(7.094)]


async def test_what_waits_and_each_refusal_by_a_limit_are_counted(serve: Serve, settings: Any) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    @tool(max_concurrency=1)
    async def wait() -> str:
        entered.set()
        await leave.wait()
        return "done"

    settings.MCP_TRANSPORT = {"MAX_QUEUED_CALLS": 1}
    client = await opened(serve())
    calls = [asyncio.ensure_future(client.call("wait")) for _ in range(2)]
    async with asyncio.timeout(60):
        await entered.wait()
        await until(lambda: serve().pool.gauges().waiting_calls == 1)
        families = await scraped()
        assert families["mcp_transport_calls_waiting"].samples[0].value == 1
        refused = await client.call("wait")
        assert refused.json["error"]["data"]["limit"] == "max_concurrency"
        samples = (await scraped())["mcp_transport_refused"].samples
        assert {sample.labels["reason"]: sample.value for sample in samples} == {"max_concurrency": 1}
        leave.set()
        await asyncio.gather(*calls)
    await settle()
    families = await scraped()
    assert families["mcp_transport_calls_waiting"].samples[0].value == 0
    assert families["mcp_transport_wait_seconds"].samples[-2].value == 1


async def test_threads_are_counted_while_their_functions_run_and_as_lost_after_their_calls(serve: Serve) -> None:
    entered, leave = threading.Event(), threading.Event()

    @tool(timeout=1.0)
    def stuck() -> str:
        entered.set()
        leave.wait(20)
        return "late"

    async def threads() -> tuple[float, float]:
        families = await scraped()
        in_use, lost = (families[f"mcp_transport_tool_threads{name}"] for name in ("", "_lost"))
        return in_use.samples[0].value, lost.samples[0].value

    client = await opened(serve())
    assert await threads() == (0, 0)
    async with asyncio.timeout(60):
        await client.call("stuck")
        assert entered.is_set()
        assert await threads() == (1, 1)
        leave.set()
        await until(lambda: not serve().pool.gauges().threads)
    assert await threads() == (0, 0)
    events = {sample.labels["event"]: sample.value for sample in (await scraped())["mcp_transport_events"].samples}
    assert events["timed_out"] == 1
