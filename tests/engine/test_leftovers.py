"""What a call leaves behind: nothing that only the garbage collector finds, and no silence where something failed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_transport.engine.call import Call
from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import SessionClient, send_sessionless
from tests.support.clock import settle

CALLS = 20


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_call_in_a_session_is_gone_when_it_is_over(client: SessionClient, no_collector: None) -> None:
    await client.call("add", {"a": 1, "b": 2})
    await settle()
    gc.collect()
    for _ in range(CALLS):
        answer = await client.call("add", {"a": 1, "b": 2})
        assert answer.status == 200
        await settle()
    assert gc.collect() < CALLS


async def test_a_call_without_a_session_is_gone_when_it_is_over(endpoint: Endpoint, no_collector: None) -> None:
    params = {"name": "add", "arguments": {"a": 1, "b": 2}}
    await send_sessionless(endpoint, "tools/call", params)
    await settle()
    gc.collect()
    for _ in range(CALLS):
        assert (await send_sessionless(endpoint, "tools/call", params)).status == 200
        await settle()
    assert gc.collect() < CALLS


async def test_a_call_whose_handler_cannot_be_told_of_it_is_an_error(
    endpoint: Endpoint, client: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: Call) -> Any:
        raise RuntimeError("a header of another time")

    monkeypatch.setattr(Call, "exchange", fail)
    for answer in (await client.request("tools/list"), await send_sessionless(endpoint, "tools/list")):
        assert answer.json["error"]["code"] == -32603
