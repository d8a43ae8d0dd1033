"""The region of a process: named by each response, and by the id of each session."""

from __future__ import annotations

import pytest

from mcp_transport.engine.session_id import unseal
from tests.support.calls import opened
from tests.support.client import send, send_sessionless
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import FlakyBackend

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
PAGE = "https://app.example"


async def test_each_response_names_the_region(build_endpoint: BuildEndpoint, store: FlakyBackend) -> None:
    endpoint = build_endpoint(store, region="eu-west-1", allowed_origins=(PAGE,))
    client = await opened(endpoint)
    answers = [
        await client.request("ping"),
        await client.call("count", {"steps": 1}),
        await client.get(),
        await send_sessionless(endpoint, "tools/call", ADD),
        await send(endpoint, "OPTIONS"),
        await send(endpoint, "PUT"),
        await send(endpoint, "POST", headers={"host": "evil.example"}),
    ]
    store.away = {"*"}
    answers.append(await client.request("ping"))
    store.away.clear()
    answers.append(await client.delete())
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 204, 405, 400, 503, 204]
    assert {answer.headers.get("x-mcp-region") for answer in answers} == {"eu-west-1"}
    page = await send_sessionless(endpoint, "tools/call", ADD, headers={"origin": PAGE})
    assert "X-MCP-Region" in page.headers["access-control-expose-headers"]


@pytest.mark.parametrize("region", ["", "eu-west-1"])
async def test_an_id_names_the_home_of_its_session(build_endpoint: BuildEndpoint, region: str) -> None:
    """In a store that does not rebuild sessions, ids of one region are random."""
    endpoint = build_endpoint(region=region, session_keys=[b"k" * 32])
    client = await opened(endpoint)
    session = unseal(client.session_id or "", [b"k" * 32], "", 0.0)
    assert (session.region if session is not None else "") == region


async def test_without_a_region_none_is_named(build_endpoint: BuildEndpoint) -> None:
    answer = await send_sessionless(build_endpoint(), "tools/call", ADD)
    assert "x-mcp-region" not in answer.headers
