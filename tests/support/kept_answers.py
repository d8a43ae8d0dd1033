"""How two nodes answer a request that carries an idempotency key, and its repetition, whatever they share.

class TestMine(KeptAnswers):
    @pytest.fixture
    async def nodes(self, gate, clock): return ...  # two endpoints with the tools of `tests.support.tools`
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import SessionClient, text_of, until
from tests.support.clock import FakeClock, settle
from tests.support.keyed import ADD, JSON_ONLY, Hold, Keyed, busy, frames
from tests.support.tools import Gate


class KeptAnswers:
    """A tool runs once, whenever and wherever its call is sent again."""

    @pytest.fixture
    async def nodes(self, gate: Gate, clock: FakeClock) -> tuple[Endpoint, Endpoint]:
        raise NotImplementedError

    @pytest.fixture
    async def keyed(self, nodes: tuple[Endpoint, Endpoint]) -> Keyed:
        return Keyed(await opened(nodes[0]))

    @pytest.fixture(params=["here", "there"])
    def again(self, request: pytest.FixtureRequest, nodes: tuple[Endpoint, Endpoint]) -> dict[str, Any]:
        """Where a request is sent again."""
        return {"endpoint": nodes[request.param == "there"]}

    # -- after the end -------------------------------------------------------------------------------

    async def test_a_json_answer_is_got_again(self, keyed: Keyed, again: dict[str, Any], gate: Gate) -> None:
        first = await keyed.call("add", ADD)
        await keyed.until_kept()
        second = await keyed.call("add", ADD, **again)
        assert (second.status, second.body) == (200, first.body)
        assert second.headers["content-type"] == "application/json"
        assert gate.runs == 1
        assert await keyed.flights() == 0

    async def test_a_stream_is_got_again_from_its_beginning(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        gate.open.set()
        first = await keyed.call("count", {"steps": 2})
        before = [frame for frame in await frames(first) if frame.data]
        await keyed.until_kept()
        for _ in range(2):
            second = await keyed.call("count", {"steps": 2}, **again)
            assert second.headers["content-type"].startswith("text/event-stream")
            assert [frame for frame in await frames(second) if frame.data] == before
        assert len(before) == 4
        assert gate.runs == 1

    async def test_a_repetition_that_is_cut_is_resumed(self, keyed: Keyed, again: dict[str, Any], gate: Gate) -> None:
        gate.open.set()
        whole = await frames(await keyed.call("count", {"steps": 2}))
        await keyed.until_kept()
        second = await keyed.call("count", {"steps": 2}, **again)
        cut = [await second.event() for _ in range(3)][-1]
        second.close()
        rest = await frames(await keyed.client.get(cut.id))
        assert [frame for frame in rest if frame.data] == [frame for frame in whole if frame.data][2:]

    @pytest.mark.parametrize("steps", [0, 2])
    async def test_a_client_that_takes_only_json_gets_the_answer_alone(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate, steps: int
    ) -> None:
        gate.open.set()
        last = (await (await keyed.call("count", {"steps": steps})).messages())[-1]
        await keyed.until_kept()
        for options in ({"headers": JSON_ONLY}, {"streaming": False}):
            second = await keyed.call("count", {"steps": steps}, **options, **again)
            assert second.json == last
        assert gate.runs == 1

    async def test_a_client_that_takes_only_events_gets_one(self, keyed: Keyed, again: dict[str, Any]) -> None:
        first = await keyed.call("add", ADD)
        await keyed.until_kept()
        second = await keyed.call("add", ADD, headers={"accept": "text/event-stream"}, **again)
        assert second.headers["content-type"].startswith("text/event-stream")
        assert first.body in second.body

    @pytest.mark.parametrize(
        ("tool", "arguments"), [("fail", {}), ("refuse", {"code": -32050}), ("add", {"a": "x"}), ("unknown", {})]
    )
    async def test_an_error_is_got_again(
        self, keyed: Keyed, again: dict[str, Any], tool: str, arguments: dict[str, Any]
    ) -> None:
        first = await keyed.call(tool, arguments)
        await keyed.until_kept()
        second = await keyed.call(tool, arguments, **again)
        assert (second.status, second.body) == (first.status, first.body)
        assert "error" in first.json or first.json["result"]["isError"]

    async def test_a_call_without_streaming_is_kept_when_it_is_answered(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        first = await keyed.call("add", ADD, streaming=False)
        assert await keyed.is_kept(), "its loop may end with it"
        assert (await keyed.call("add", ADD, streaming=False, **again)).body == first.body
        assert gate.runs == 1

    async def test_without_a_key_nothing_is_kept(self, keyed: Keyed, gate: Gate) -> None:
        await keyed.client.call("add", ADD, id=7)
        async with asyncio.timeout(60):
            while await keyed.flights():
                await settle()
        assert await keyed.client.endpoint.backend.streams.stream_records(session_key(keyed.client.session_id)) == ()
        await keyed.client.call("add", ADD, id=7)
        assert gate.runs == 2

    # -- while it runs -------------------------------------------------------------------------------

    @pytest.mark.parametrize("tool", ["blocked", "count"])
    async def test_a_repetition_joins_what_runs(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate, tool: str
    ) -> None:
        arguments = {"steps": 2} if tool == "count" else {}
        first = asyncio.ensure_future(keyed.call(tool, arguments))
        await gate.wait(gate.entered)
        second = await keyed.call(tool, arguments, **again)
        gate.open.set()
        assert await second.text() == ("counted" if tool == "count" else "through")
        await first
        assert gate.runs == 1

    async def test_whoever_joins_is_asked_what_the_tool_asks(self, keyed: Keyed, again: dict[str, Any]) -> None:
        await (await keyed.call("ask")).message()
        second = await keyed.call("ask", **again)
        question = await second.message()
        accepted = {"action": "accept", "content": {"name": "Ada"}}
        assert (await keyed.client.reply(question["id"], accepted)).status == 202
        assert await second.text() == "accept Ada"

    async def test_a_broken_connection_leaves_a_call_that_is_joined(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        first = asyncio.ensure_future(keyed.call("blocked"))
        await gate.wait(gate.entered)
        first.cancel()
        await asyncio.wait([first])
        second = await keyed.call("blocked", **again)
        gate.open.set()
        assert await second.text() == "through"
        assert gate.runs == 1

    async def test_posts_at_once_run_one_tool(
        self, keyed: Keyed, nodes: tuple[Endpoint, Endpoint], gate: Gate
    ) -> None:
        for number in range(5):
            keyed.key, gate.runs = f"at-once-{number}", 0
            posts = [keyed.call("add", ADD, id=number, endpoint=node) for node in [*nodes] * 4]
            answers = await asyncio.gather(*posts)
            found = [await answer.messages() if answer.stream else [answer.json] for answer in answers]
            # One of those that joined has the stream at last (ADR 32).
            assert {text_of(message) for messages in found for message in messages} == {"3"}
            assert sum(map(bool, found)) >= 2
            assert gate.runs == 1

    @pytest.mark.parametrize("options", [{"headers": JSON_ONLY}, {"streaming": False}], ids=["json", "wsgi"])
    async def test_a_client_that_takes_no_stream_is_told_to_come_back(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate, options: dict[str, Any]
    ) -> None:
        first = asyncio.ensure_future(keyed.call("blocked", **options))
        await gate.wait(gate.entered)
        second = await keyed.call("blocked", **options, **again)
        assert (second.status, second.error_code, second.headers["retry-after"]) == (409, -32600, "1")
        assert second.json["error"]["data"] == {"idempotencyKey": "running"}
        gate.open.set()
        assert text_of((await first).json) == "through"
        await keyed.until_kept()
        assert text_of((await keyed.call("blocked", **options, **again)).json) == "through"
        assert gate.runs == 1

    async def test_a_call_that_its_client_cancels_is_not_run_again(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        first = asyncio.ensure_future(keyed.call("count", {"steps": 1}))
        await gate.wait(gate.entered)
        await keyed.client.notify("notifications/cancelled", {"requestId": 7}, **again)
        await first
        await keyed.until_kept()
        second = await keyed.call("count", {"steps": 1}, **again)
        assert (second.status, second.error_code, second.json["id"]) == (200, -32800, 7)
        assert gate.runs == 1

    async def test_a_call_that_was_cancelled_before_it_came_is_not_run_when_it_comes_again(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        await keyed.client.notify("notifications/cancelled", {"requestId": 7}, **again)
        first = await keyed.call("add", ADD)
        assert first.error_code == -32800
        await keyed.until_kept()
        assert (await keyed.call("add", ADD, **again)).body == first.body
        assert gate.runs == 0

    # -- between the two -----------------------------------------------------------------------------

    @pytest.mark.parametrize("operation", ["append", "leave"])
    async def test_there_is_no_moment_without_the_call_or_its_answer(
        self, keyed: Keyed, nodes: tuple[Endpoint, Endpoint], again: dict[str, Any], gate: Gate, operation: str
    ) -> None:
        hold = Hold(nodes[0].backend, operation)
        first = await keyed.call("add", ADD)
        assert text_of(first.json) == "3", "the answer does not wait for the store"
        if operation == "append":
            await hold.reach()
        second = asyncio.ensure_future(keyed.call("add", ADD, **again))
        await asyncio.sleep(0.05)  # only so that there is a chance to go wrong
        hold.release()
        answer = await second
        assert text_of(answer.json if answer.stream is None else (await answer.messages())[-1]) == "3"
        assert gate.runs == 1

    async def test_a_client_without_streams_waits_for_the_log(
        self, keyed: Keyed, nodes: tuple[Endpoint, Endpoint], again: dict[str, Any], gate: Gate
    ) -> None:
        hold = Hold(nodes[0].backend, "append")
        first = await keyed.call("add", ADD, headers=JSON_ONLY)
        await hold.reach()
        second = asyncio.ensure_future(keyed.call("add", ADD, headers=JSON_ONLY, **again))
        await asyncio.sleep(0.05)  # only so that there is a chance to go wrong
        hold.release()
        assert (await second).body == first.body
        assert gate.runs == 1

    async def test_a_client_that_leaves_while_it_asks_costs_the_running_call_nothing(
        self, keyed: Keyed, nodes: tuple[Endpoint, Endpoint], again: dict[str, Any], gate: Gate
    ) -> None:
        first = asyncio.ensure_future(keyed.call("blocked"))
        await gate.wait(gate.entered)
        hold = Hold(again["endpoint"].backend, "enter")
        second = asyncio.ensure_future(keyed.call("blocked", **again))
        await hold.reach()
        second.cancel()
        await asyncio.wait([second])
        hold.release()
        await until(lambda: not any(busy(endpoint) for endpoint in nodes))
        assert await keyed.flights() == 1
        third = await keyed.call("blocked", **again)
        gate.open.set()
        assert await third.text() == "through"
        await first
        assert gate.runs == 1

    async def test_a_client_that_leaves_before_its_call_runs_may_send_it_again(
        self, keyed: Keyed, nodes: tuple[Endpoint, Endpoint], again: dict[str, Any], gate: Gate
    ) -> None:
        hold = Hold(nodes[0].backend, "enter")
        first = asyncio.ensure_future(keyed.call("add", ADD))
        await hold.reach()
        first.cancel()
        await asyncio.wait([first])
        hold.release()
        assert text_of((await keyed.call("add", ADD, **again)).json) == "3"
        assert gate.runs == 1

    # -- another request -----------------------------------------------------------------------------

    @pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "after its end"])
    @pytest.mark.parametrize("changes", [{"id": 8}, {"arguments": {"a": 1}}, {"headers": JSON_ONLY, "id": 9}])
    async def test_a_key_of_another_request_is_422(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate, runs: bool, changes: dict[str, Any]
    ) -> None:
        first = asyncio.ensure_future(keyed.call("blocked"))
        await gate.wait(gate.entered)
        if not runs:
            gate.open.set()
            await first
            await keyed.until_kept()
        refused = await keyed.call("blocked", **changes, **again)
        assert (refused.status, refused.error_code) == (422, -32600)
        assert refused.json["error"]["data"] == {"idempotencyKey": "reused"}
        assert refused.json["id"] == changes.get("id", 7)
        gate.open.set()
        await first
        assert gate.runs == 1

    async def test_another_key_does_not_join_a_request_of_the_same_id(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        first = asyncio.ensure_future(keyed.call("blocked"))
        await gate.wait(gate.entered)
        refused = await Keyed(keyed.client, "other").call("blocked", **again)
        assert (refused.status, refused.error_code) == (400, -32600)
        gate.open.set()
        await first
        second = await Keyed(keyed.client, "other").call("blocked", **again)
        assert text_of(second.json) == "through"
        assert gate.runs == 2, "a client may use one id for all requests, one after another"

    async def test_a_request_without_the_key_joins_as_ever(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        first = asyncio.ensure_future(keyed.call("blocked"))
        await gate.wait(gate.entered)
        second = await keyed.client.call("blocked", id=7, **again)
        gate.open.set()
        assert await second.text() == "through"
        await first
        assert gate.runs == 1

    async def test_a_key_stands_in_quotes_or_without(self, keyed: Keyed, again: dict[str, Any], gate: Gate) -> None:
        keyed.key = '"one"'
        first = await keyed.call("add", ADD)
        await keyed.until_kept()
        keyed.key = "one"
        assert (await keyed.call("add", ADD, **again)).body == first.body
        assert gate.runs == 1

    async def test_a_key_of_another_session_is_another(
        self, keyed: Keyed, nodes: tuple[Endpoint, Endpoint], gate: Gate
    ) -> None:
        await keyed.call("add", ADD)
        await Keyed(await opened(nodes[1])).call("add", ADD)
        assert gate.runs == 2

    async def test_a_session_that_ended_is_404(self, keyed: Keyed, again: dict[str, Any], gate: Gate) -> None:
        await keyed.call("add", ADD)
        await keyed.until_kept()
        await keyed.client.delete()
        assert (await keyed.call("add", ADD, **again)).status == 404
        assert gate.runs == 1

    async def test_initialize_says_for_how_long_answers_are_kept(self, nodes: tuple[Endpoint, Endpoint]) -> None:
        answer = await SessionClient(nodes[0]).open()
        experimental = answer.json["result"]["capabilities"]["experimental"]
        assert experimental == {"mcp_transport/idempotencyKey": {"keepSeconds": Policy().stream_keep}}
