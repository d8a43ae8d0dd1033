"""Pages of other origins: who may call, and what their browser is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import SessionClient, send, send_sessionless, text_of
from tests.support.stores import FlakyBackend, left_behind

PAGE = "https://app.example"
ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}


@pytest.fixture
async def open_endpoint(build_endpoint: Any) -> Any:
    """An endpoint that pages of one other origin may call."""
    return build_endpoint(allowed_origins=(PAGE,))


def assert_cors(answer: Any, origin: str = PAGE) -> None:
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"] == "Origin"
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert {"Mcp-Session-Id", "WWW-Authenticate", "Retry-After"} <= exposed


async def test_a_preflight_is_answered_before_anything_is_asked(open_endpoint):
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type, Mcp-Param-Region, x-other",
        "accept": None,
    }
    answer = await send(open_endpoint, "OPTIONS", headers=asked)
    assert (answer.status, answer.body) == (204, b"")
    assert_cors(answer)
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    allowed = {name.lower() for name in answer.headers["access-control-allow-headers"].split(", ")}
    assert {
        "content-type",
        "accept",
        "authorization",
        "last-event-id",
        "mcp-session-id",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "mcp-param-region",
    } <= allowed
    assert "x-other" not in allowed
    assert int(answer.headers["access-control-max-age"]) > 0


async def test_a_preflight_of_a_foreign_page_is_refused(open_endpoint):
    answer = await send(open_endpoint, "OPTIONS", headers={"origin": "https://evil.example"})
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_options_without_an_origin_names_the_methods(endpoint):
    answer = await send(endpoint, "OPTIONS")
    assert (answer.status, answer.body) == (204, b"")
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["allow"].split(", "))


async def test_an_allowed_page_sees_answers_and_the_session_id(open_endpoint):
    client = SessionClient(open_endpoint)
    answer = await client.open()
    assert not [name for name in answer.headers if name.startswith("access-control")], "no page asked"
    page = {"origin": PAGE}
    assert_cors(await client.request("ping", headers=page))
    assert_cors(await client.notify("notifications/initialized", headers=page))
    assert_cors(await client.get(headers=page))
    assert_cors(await send_sessionless(open_endpoint, "tools/call", ADD, headers=page))
    assert_cors(await client.delete(headers=page))


async def test_a_stream_carries_cors_too(open_endpoint, gate):
    gate.open.set()
    client = SessionClient(open_endpoint)
    await client.open()
    answer = await client.call("count", {"steps": 1}, headers={"origin": PAGE})
    assert answer.stream is not None
    assert_cors(answer)


async def test_errors_carry_cors_too(open_endpoint):
    client = SessionClient(open_endpoint)
    await client.open()
    page = {"origin": PAGE}
    answers = {
        200: await client.request("no/such", headers=page),
        400: await client.post({"jsonrpc": "1.0"}, headers=page),
        404: await client.request("ping", headers={**page, "mcp-session-id": "unknown"}),
        405: await send(open_endpoint, "PUT", headers=page),
        406: await client.request("ping", headers={**page, "accept": "text/plain"}),
        413: await client.request("ping", headers={**page, "content-length": "999999999"}),
        415: await client.request("ping", headers={**page, "content-type": "text/plain"}),
    }
    for status, answer in answers.items():
        assert answer.status == status
        assert_cors(answer)


async def test_an_outage_carries_cors_too(build_endpoint, open_endpoint, clock):
    store = FlakyBackend(open_endpoint.policy, clock.now)
    client = SessionClient(build_endpoint(store, allowed_origins=(PAGE,)))
    await client.open()
    store.away = {"*"}
    answer = await client.request("ping", headers={"origin": PAGE})
    store.away.clear()
    assert answer.status == 503
    assert_cors(answer)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", "http://localhost"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("localhost", "HTTPS://LOCALHOST"),
        ("localhost", PAGE),
        ("localhost", "HTTPS://app.example"),
    ],
)
async def test_own_and_allowed_pages_may_call(open_endpoint, host, origin):
    answer = await send_sessionless(open_endpoint, "tools/call", ADD, headers={"host": host, "origin": origin})
    assert text_of(answer.json) == "3"
    assert_cors(answer, origin)


FOREIGN = [
    "https://evil.example",
    "https://app.example.evil.example",
    "https://app.example:444",
    "http://app.example",
    "http://localhost:9999",
    "http://localhost.evil.example",
    "null",
    "localhost",
    "file://",
    "//localhost",
    "ftp://localhost",
    "javascript:alert(1)",
]
UNREADABLE = ["http://[", "http://]", "http://[::1", "http://[::1]x", "http://[zz]", "http://", ":", "//", "[", "%"]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("origin", FOREIGN)
async def test_foreign_pages_are_refused(open_endpoint, gate, origin, method):
    await assert_refused(open_endpoint, gate, origin, method)


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
@pytest.mark.parametrize("origin", UNREADABLE)
async def test_an_origin_that_is_no_url_is_refused(open_endpoint, gate, origin, method):
    await assert_refused(open_endpoint, gate, origin, method)


async def assert_refused(endpoint: Any, gate: Any, origin: str, method: str) -> None:
    headers = {"origin": origin}
    if method == "POST":
        answer = await send_sessionless(endpoint, "tools/call", ADD, headers=headers)
    else:
        answer = await send(endpoint, method, headers=headers)
    assert (answer.status, answer.error_code, gate.runs) == (403, -32600, 0)
    assert "id" not in answer.json
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert await left_behind(endpoint) == {}


async def test_a_rebound_name_is_not_our_own_origin(build_endpoint, gate):
    endpoint = build_endpoint(allowed_hosts=("*",))
    rebound = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    answer = await send_sessionless(endpoint, "tools/call", ADD, headers=rebound)
    assert (answer.status, gate.runs) == (403, 0)


async def test_every_page_may_call_when_all_are_allowed(build_endpoint):
    endpoint = build_endpoint(allowed_origins=("*",))
    answer = await send_sessionless(endpoint, "tools/call", ADD, headers={"origin": "https://any.example"})
    assert answer.status == 200
    assert_cors(answer, "https://any.example")


@pytest.mark.parametrize("host", [None, "", "evil.example", "localhost.evil.example", "[::2]", "]", "[", ":8000"])
async def test_a_host_that_is_not_ours_is_refused(endpoint, gate, host):
    answer = await send_sessionless(endpoint, "tools/call", ADD, headers={"host": host})
    assert (answer.status, answer.error_code, gate.runs) == (400, -32600, 0)


@pytest.mark.parametrize("name", ["mcp-param-\x01b", "mcp-param-\xff", "mcp-param-a b", "mcp-param-"])
async def test_a_preflight_allows_no_name_that_is_none(open_endpoint, name):
    answer = await send(
        open_endpoint,
        "OPTIONS",
        headers={"origin": "https://app.example", "access-control-request-headers": f"{name}, mcp-param-region"},
    )
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert "mcp-param-region" in allowed
    assert name == "mcp-param-" or name not in allowed
