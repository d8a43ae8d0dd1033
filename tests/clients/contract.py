"""Tests that every official client must pass against the demonstration shop; each client's test module runs them.

A subclass has a fixture `client` that returns a `Drive`: one run of the client's driver.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.clients.proxy import CuttingProxy
from tests.clients.refusing_proxy import MESSAGE, OK, TOO_MANY, UNAVAILABLE, Refusal, RefusingProxy, stream
from tests.support.preloaded import can_start, run
from tests.support.processes import ROOT

Report = dict[str, Any]
Drive = Callable[..., Awaitable[Report]]

RUN_SECONDS = 30
STEPS = 8
COUNT = ("count_slowly", {"steps": STEPS, "delay_ms": 50})
LONG = ("count_slowly", {"steps": 100, "delay_ms": 100})
ORDER = ("place_order", {"sku": "mug-blue", "email": "ada@example.com", "quantity": 2})
YES = {"action": "accept", "content": {"confirm": True}}
NO = {"action": "accept", "content": {"confirm": False}}
DECLINE = {"action": "decline"}
PRODUCT = ("get_product", {"sku": "mug-blue"})

WAIT_SECONDS = 1.5
"""Seconds after which a client that reconnects every 0.1 s, as `retry` asks, has done so."""


def driver(*command: str, mode: str = "") -> Drive:
    """Return a function that runs a driver against a URL and reads its report."""

    async def drive(url: str, *calls: tuple[Any, ...], answer: Any = None, wait_seconds: float = 0) -> Report:
        job = {"url": url, "mode": mode, "calls": calls, "answer": answer, "linger": wait_seconds * 1000}
        report: Report = json.loads(await finished(*command, json.dumps(job)))
        return report

    return drive


async def finished(*command: str, env: dict[str, str] | None = None, status: int = 0) -> str:
    """Run a client, which must exit in time with this status; return its output."""
    if can_start(command, own := env or {**os.environ}):
        done = await asyncio.to_thread(run, command, cwd=ROOT, env=own, timeout=RUN_SECONDS)
        assert done.returncode == status, done.stderr
        return done.stdout or done.stderr
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == status, complaints.decode()
    return (printed or complaints).decode()


def assert_counted(call: Report) -> None:
    """Every step arrived once and in order, followed by the response."""
    assert call["progress"] == [[step, STEPS, f"step {step}"] for step in range(1, STEPS + 1)]
    assert call["logs"] == [f"step {step} of {STEPS}" for step in range(1, STEPS + 1)]
    assert call["content"][0]["text"] == f"Counted to {STEPS}."


class ClientContract:
    """Tests for session-based and sessionless revisions."""

    protocol = "2025-11-25"
    refusals: tuple[Refusal, ...] = (TOO_MANY, UNAVAILABLE, OK, stream)
    """The forms of a refusal for load that the client survives."""

    @pytest.fixture
    def client(self) -> Drive:
        raise NotImplementedError

    async def test_lists_and_reads(self, client: Drive, server: str) -> None:
        report = await client(server)
        assert report["protocol"] == self.protocol
        assert report["server"] == "shop"
        assert {"search_products", "place_order", "count_slowly", "cart_add"} <= set(report["tools"])
        assert report["resources"] == ["shop://products"]
        assert report["templates"] == ["shop://products/{sku}"]
        assert report["prompts"] == ["order_summary"]
        assert json.loads(report["resource"])["sku"] == "mug-blue"
        assert "SO-1001" in report["prompt"]

    async def test_calls_tools(self, client: Drive, server: str) -> None:
        report = await client(
            server, ("get_product", {"sku": "mug-blue"}), ("get_product", {"sku": "?"}), ("whoami", {})
        )
        product, missing, caller = report["calls"]
        assert not product["isError"]
        assert product["structuredContent"]["name"] == "Blue mug"
        assert missing["isError"]
        assert "No product has the SKU ?" in missing["content"][0]["text"]
        assert caller["structuredContent"]["protocol_version"] == self.protocol
        assert not caller["structuredContent"]["is_authenticated"]

    async def test_receives_progress_and_logs(self, client: Drive, server: str) -> None:
        report = await client(server, COUNT, ("restock_report", {}))
        counted, restock = report["calls"]
        assert_counted(counted)
        total = len(restock["progress"])
        assert total > 1
        assert [[done, of] for done, of, _ in restock["progress"]] == [[n + 1, total] for n in range(total)]

    @pytest.mark.parametrize(
        ("answer", "ordered"), [(YES, True), (NO, False), (DECLINE, False)], ids=["yes", "no", "decline"]
    )
    async def test_answers_an_elicitation(self, client: Drive, server: str, answer: Report, ordered: bool) -> None:
        report = await client(server, ORDER, answer=answer)
        (order,) = report["calls"]
        (question,) = report["asked"]
        assert "Blue mug" in question
        assert order["isError"] is not ordered
        if ordered:
            assert order["structuredContent"]["lines"][0]["quantity"] == 2

    async def test_goes_on_after_refusals_for_load(self, client: Drive, server: str) -> None:
        """The caller gets each refusal, and the client repeats nothing by itself."""
        calls = [call for _ in self.refusals for call in (PRODUCT, ("tools/list", {}))]
        # Each driver lists the tools once before its calls.
        refusals: dict[str, list[Refusal | None]] = {
            "tools/call": [*self.refusals],
            "tools/list": [None, *self.refusals],
        }
        report, proxy = await self.refused(client, server, refusals, *calls, PRODUCT, ("tools/list", {}))
        *refused, product, tools = report["calls"]
        assert all(MESSAGE in call["error"] for call in refused)
        assert proxy.refused == len(refused)
        assert not product["isError"]
        assert tools["tools"]

    async def refused(
        self, client: Drive, server: str, refusals: dict[str, list[Refusal | None]], *calls: Any
    ) -> tuple[Report, RefusingProxy]:
        """Run a client against a server that refuses; it keeps its only session."""
        proxy = RefusingProxy(server, refusals)
        async with proxy.serve() as url:
            report = await client(url, *calls, wait_seconds=WAIT_SECONDS if "GET" in refusals else 0)
        sessions = 1 if self.protocol < "2026" else 0
        assert proxy.kinds.count("initialize") == len(proxy.session_ids) == sessions
        return report, proxy


class SessionfulContract(ClientContract):
    """2025-11-25: sessions have state, and clients resume lost streams themselves."""

    @pytest.mark.parametrize("refusal", [TOO_MANY, UNAVAILABLE], ids=["429", "503"])
    async def test_works_without_the_get_stream_that_is_refused(
        self, client: Drive, server: str, refusal: Refusal
    ) -> None:
        report, proxy = await self.refused(client, server, {"GET": [refusal] * 9}, PRODUCT)
        assert not report["calls"][0]["isError"]
        assert 1 <= proxy.kinds.count("GET") <= 2  # it gives up: refuse no GET that can be served

    async def test_resumes_a_stream_when_a_resumption_was_refused(self, client: Drive, server: str) -> None:
        """Once: after two refusals each client gives up, and two of them then wait without an end."""
        report, proxy = await self.refused(client, server, {"resumption": [TOO_MANY]}, ("poll_demo", {}))
        assert not report["calls"][0]["isError"]
        assert proxy.refused == 1

    async def test_keeps_state_in_the_session(self, client: Drive, server: str) -> None:
        report = await client(
            server, ("cart_add", {"sku": "mug-blue"}), ("cart_add", {"sku": "tea-green"}), ("cart_show", {})
        )
        cart = report["calls"][-1]["structuredContent"]
        assert {line["sku"] for line in cart["lines"]} == {"mug-blue", "tea-green"}

    async def test_goes_on_in_another_region(self, client: Drive, regions: tuple[str, str]) -> None:
        """Behind one address, in the middle of a call: the session is known there, and has no state.

        The call is lost. Its client cannot resume it, does not repeat it, and needs a timeout to learn that.
        """
        here, there = regions
        async with CuttingProxy(here) as proxy:
            proxy.on_event = lambda: proxy.turn(there)
            report = await client(
                proxy.url, ("cart_add", {"sku": "mug-blue"}), (*LONG, "time out"), ("cart_show", {}), PRODUCT
            )
        added, lost, cart, product = report["calls"]
        assert not added["isError"]
        assert lost["error"]
        assert cart["structuredContent"]["lines"] == []
        assert not product["isError"]
        assert (proxy.tool_calls, proxy.initializations) == (4, 1)

    async def test_resumes_a_cut_stream(self, client: Drive, server: str) -> None:
        await self.count_through_cuts(client, server, 3)

    async def count_through_cuts(self, client: Drive, server: str, *cuts: int) -> None:
        """Cut the stream after these numbers of events; nothing is lost or repeated."""
        async with CuttingProxy(server, *cuts) as proxy:
            report = await client(proxy.url, COUNT)
        assert_counted(report["calls"][0])
        assert proxy.cuts == []
        assert len(proxy.resumptions) == len(cuts)  # the client reconnected once for each cut
        assert proxy.tool_calls == 1  # and did not repeat the call

    async def test_leaves_a_call_alone_that_is_over(self, client: Drive, server: str) -> None:
        """A cancelled call, one that times out, and one whose handler fails."""
        async with CuttingProxy(server) as proxy:
            report = await client(
                proxy.url, (*LONG, "cancel"), (*LONG, "time out"), ORDER, answer="throw", wait_seconds=WAIT_SECONDS
            )
        cancelled, timed_out, failed = report["calls"]
        assert cancelled["error"]
        assert timed_out["error"]
        assert failed.get("error") or failed["isError"]
        assert proxy.tool_calls == 3
        reconnected_after = Counter(event_id.partition("-")[0] for event_id in proxy.resumptions)
        assert all(times <= 2 for times in reconnected_after.values()), reconnected_after
        assert report["asked"], "the handler was not asked"

    async def test_polls_after_the_server_closed(self, client: Drive, server: str) -> None:
        async with CuttingProxy(server) as proxy:
            report = await client(proxy.url, ("poll_demo", {}))
        (call,) = report["calls"]
        assert [done for done, *_ in call["progress"]] == [1, 2]
        assert call["content"][0]["text"] == "The work went on without a connection."
        assert len(proxy.resumptions) >= 1
        assert proxy.tool_calls == 1


class SessionlessContract(ClientContract):
    """2026-07-28: no session and no event ids, so lost streams cannot be resumed."""

    protocol = "2026-07-28"

    async def test_takes_a_refused_discover_for_an_old_server(self, client: Drive, server: str) -> None:
        """So a refusal costs the server a session: `server/discover` must not be refused for load."""
        proxy = RefusingProxy(server, {"server/discover": [TOO_MANY]})
        async with proxy.serve() as url:
            report = await client(url)
        assert report["protocol"] == "2025-11-25"
        assert proxy.kinds.count("initialize") == 1

    async def test_has_no_session_state(self, client: Drive, server: str) -> None:
        report = await client(server, ("cart_add", {"sku": "mug-blue"}))
        (call,) = report["calls"]
        assert call.get("error") or call["isError"]

    async def test_reports_a_cut_stream_as_lost(self, client: Drive, server: str) -> None:
        async with CuttingProxy(server, 3) as proxy:
            report = await client(proxy.url, COUNT)
        (call,) = report["calls"]
        assert call["error"]
        assert [done for done, *_ in call["progress"]] == [1, 2, 3]
        assert proxy.resumptions == []
        assert proxy.tool_calls == 1
