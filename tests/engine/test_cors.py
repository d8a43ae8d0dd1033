"""Pages of other origins: who may call, and what their browser is told."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import Answer, send, send_sessionless, text_of
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import Gate

PAGE = "https://app.example"
PAGES: dict[str, str | None] = {"origin": PAGE}
ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}


@pytest.fixture
async def open_endpoint(build_endpoint: BuildEndpoint) -> Endpoint:
    """An endpoint that pages of one other origin may call."""
    return build_endpoint(allowed_origins=(PAGE,))


def assert_cors(answer: Answer, origin: str = PAGE) -> None:
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"] == "Origin"
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {"Mcp-Session-Id", "WWW-Authenticate", "Retry-After"} <= exposed


def assert_no_cors(answer: Answer) -> None:
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_preflight_is_answered_before_anything_is_asked(open_endpoint: Endpoint) -> None:
    odd = ["x-other", "mcp-param-\x01b", "mcp-param-\xff", "mcp-param-a b"]
    asked = {
        **PAGES,
        "access-control-request-method": "POST",
        "access-control-request-headers": ", ".join(["content-type", "Mcp-Param-Region", *odd]),
        "accept": None,
    }
    answer = await send(open_endpoint, "OPTIONS", headers=asked)
    assert (answer.status, answer.body) == (204, b"")
    assert_cors(answer)
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    allowed = {name.lower() for name in answer.headers["access-control-allow-headers"].split(", ")}
    assert {"content-type", "mcp-session-id", "mcp-param-region"} <= allowed
    assert allowed.isdisjoint(odd), "a preflight allows no name that is none"
    assert int(answer.headers["access-control-max-age"]) > 0


async def test_options_without_an_origin_names_the_methods(endpoint: Endpoint) -> None:
    answer = await send(endpoint, "OPTIONS")
    assert (answer.status, answer.body) == (204, b"")
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["allow"].split(", "))


async def test_an_allowed_page_sees_answers_streams_and_errors(open_endpoint: Endpoint, gate: Gate) -> None:
    gate.open.set()
    client = await opened(open_endpoint)
    assert_no_cors(await client.request("ping"))
    answers = {
        200: await client.request("no/such", headers=PAGES),
        202: await client.notify("notifications/initialized", headers=PAGES),
        400: await client.post({"jsonrpc": "1.0"}, headers=PAGES),
        404: await client.request("ping", headers={**PAGES, "mcp-session-id": "unknown"}),
        405: await send(open_endpoint, "PUT", headers=PAGES),
        406: await client.request("ping", headers={**PAGES, "accept": "text/plain"}),
        413: await client.request("ping", headers={**PAGES, "content-length": "999999999"}),
        415: await client.request("ping", headers={**PAGES, "content-type": "text/plain"}),
        204: await client.delete(headers=PAGES),
    }
    assert [answer.status for answer in answers.values()] == [*answers]
    other = await opened(open_endpoint)
    streams = [await other.get(headers=PAGES), await other.call("count", {"steps": 1}, headers=PAGES)]
    assert all(answer.stream is not None for answer in streams)
    alone = await send_sessionless(open_endpoint, "tools/call", ADD, headers=PAGES)
    for answer in (*answers.values(), *streams, alone):
        assert_cors(answer)


async def test_an_outage_carries_cors_too(build_endpoint: BuildEndpoint, store: FlakyBackend) -> None:
    client = await opened(build_endpoint(store, allowed_origins=(PAGE,)))
    store.away = {"*"}
    answer = await client.request("ping", headers=PAGES)
    store.away.clear()
    assert answer.status == 503
    assert_cors(answer)


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost:8000", "http://localhost:8000"), ("[::1]:8000", "http://[::1]:8000"), ("localhost", PAGE)],
)
async def test_own_and_allowed_pages_may_call(open_endpoint: Endpoint, host: str, origin: str) -> None:
    answer = await send_sessionless(open_endpoint, "tools/call", ADD, headers={"host": host, "origin": origin})
    assert text_of(answer.json) == "3"
    assert_cors(answer, origin)


async def test_every_page_may_call_when_all_are_allowed(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(allowed_origins=("*",))
    answer = await send_sessionless(endpoint, "tools/call", ADD, headers={"origin": "https://any.example"})
    assert answer.status == 200
    assert_cors(answer, "https://any.example")


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:9999", "null", "http://["])
async def test_foreign_pages_are_refused(open_endpoint: Endpoint, gate: Gate, origin: str, method: str) -> None:
    await assert_refused(open_endpoint, gate, method, {"origin": origin})


async def test_a_rebound_name_is_not_our_own_origin(build_endpoint: BuildEndpoint, gate: Gate) -> None:
    rebound = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    await assert_refused(build_endpoint(allowed_hosts=("*",)), gate, "POST", rebound)


async def assert_refused(endpoint: Endpoint, gate: Gate, method: str, headers: dict[str, Any]) -> None:
    if method == "POST":
        answer = await send_sessionless(endpoint, "tools/call", ADD, headers=headers)
    else:
        answer = await send(endpoint, method, headers=headers)
    assert (answer.status, answer.error_code, "id" in answer.json, gate.runs) == (403, -32600, False, 0)
    assert_no_cors(answer)
    assert await left_behind(endpoint) == {}


@pytest.mark.parametrize("host", [None, "", "evil.example", "]", "[", ":8000"])
async def test_a_host_that_is_not_ours_is_refused(endpoint: Endpoint, gate: Gate, host: str | None) -> None:
    answer = await send_sessionless(endpoint, "tools/call", ADD, headers={"host": host})
    assert (answer.status, answer.error_code, gate.runs) == (400, -32600, 0)
