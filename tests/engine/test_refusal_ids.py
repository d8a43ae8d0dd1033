"""Every refusal of a request whose body was read carries its id (ADR 5); before that there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST
from tests.support.client import ENVELOPE, SessionClient, request, send
from tests.support.stores import FlakyBackend

IDS = [7, 0, "seven", "", -1, 10**30]
VERSION = "mcp-protocol-version"
MODERN = {VERSION: "2026-07-28", "mcp-method": "ping"}
PING = ("ping", {})


def modern(method: str = "tools/list", **params: Any) -> tuple[str, dict[str, Any]]:
    return method, {**params, "_meta": ENVELOPE}


# What is asked, with which headers, and the status it is refused with.
AFTER_THE_BODY: dict[str, tuple[tuple[str, Any], dict[str, str | None], int]] = {
    "no session id": (PING, {"mcp-session-id": None}, 400),
    "unknown session": (PING, {"mcp-session-id": "A" * 43}, 404),
    "a session id that is too long": (PING, {"mcp-session-id": "A" * 512}, 404),
    "a version nobody serves": (PING, {VERSION: "2020-01-01"}, 400),
    "a version of 2026 without its envelope": (PING, {VERSION: "2026-07-28"}, 400),
    "params that are no object": (("ping", [1]), {}, 400),
    "a parameter that is too long": (("tools/call", {"name": "x" * 600}), {}, 400),
    "initialize under 2026": (("initialize", {}), {VERSION: "2026-07-28"}, 400),
    "a client that says too much of itself": (
        ("initialize", {"clientInfo": {"name": "x" * 20_000}, "capabilities": {}}),
        {"mcp-session-id": None},
        400,
    ),
    "2026: no version header": (modern(), {**MODERN, VERSION: None, "mcp-method": "tools/list"}, 400),
    "2026: no method header": (modern(), {VERSION: "2026-07-28"}, 400),
    "2026: another method in the header": (modern(), MODERN, 400),
    "2026: unknown method": (modern("x"), {**MODERN, "mcp-method": "x"}, 404),
    "2026: a listen without a stream": (
        modern("subscriptions/listen", notifications={}),
        {VERSION: "2026-07-28", "mcp-method": "subscriptions/listen", "accept": "application/json"},
        406,
    ),
}
BEFORE_THE_BODY: dict[str, tuple[dict[str, str | None], int]] = {
    "foreign origin": ({"origin": "https://evil.example"}, 403),
    "foreign host": ({"host": "evil example"}, 400),
    "no credentials": ({"authorization": "none"}, 401),
    "content type": ({"content-type": "text/plain"}, 415),
    "content encoding": ({"content-encoding": "gzip"}, 415),
    "accept": ({"accept": "text/html"}, 406),
    "declared length": ({"content-length": "99999999"}, 413),
    "header that is not plain": ({"mcp-session-id": "\xe9"}, 400),
    "too many headers": ({"accept": "a" * 2000}, 431),
}


@pytest.mark.parametrize("id", IDS, ids=repr)
@pytest.mark.parametrize("name", AFTER_THE_BODY)
async def test_a_refusal_behind_the_body_has_the_id(client, name, id):
    (method, params), headers, status = AFTER_THE_BODY[name]
    body = {**request(method, {}, id=id), "params": params}
    answer = await send(client.endpoint, body=body, headers={**client.headers, **headers})
    assert (answer.status, answer.json.get("id")) == (status, id)


@pytest.mark.parametrize("name", BEFORE_THE_BODY)
async def test_a_refusal_before_the_body_has_none(client, name, monkeypatch):
    headers, status = BEFORE_THE_BODY[name]
    if status == 401:

        async def nobody(request: Any) -> Any:
            raise ProtocolError(401, INVALID_REQUEST, "who are you?")

        monkeypatch.setattr(client.endpoint, "_authenticate", nobody)
    asked = 0

    async def body() -> Any:
        nonlocal asked
        asked += 1
        yield json.dumps(request("ping")).encode()

    answer = await send(client.endpoint, headers={**client.headers, **headers}, chunks=body())
    assert (answer.status, "id" in answer.json, asked) == (status, False, 0)


@pytest.mark.parametrize("name", ["no session id", "unknown session", "a version nobody serves"])
async def test_the_refusal_of_a_batch_has_none(endpoint, name):
    client = SessionClient(endpoint, "2025-03-26")
    await client.open()
    (method, params), headers, status = AFTER_THE_BODY[name]
    answer = await client.post([request(method, params, id=7)], headers=headers)
    assert (answer.status, "id" in answer.json) == (status, False)


@pytest.mark.parametrize(
    ("status", "ending"),
    [(400, b'"a":nonsense}}'), (400, b'"a":"\xff"}}'), (413, b'"a":[' + b"1," * 150_000 + b"1]}}")],
)
async def test_a_body_that_cannot_be_decoded_has_the_id_it_begins_with(client, status, ending):
    answer = await client.post(None, raw=b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{' + ending)
    assert (answer.status, answer.json["id"]) == (status, 7)


async def test_a_store_that_is_away_and_a_node_that_stops(build_endpoint, endpoint, clock):
    store = FlakyBackend(endpoint.policy, clock.now)
    client = SessionClient(build_endpoint(store))
    await client.open()
    store.away.add("*")
    answer = await client.request("ping", id=7)
    assert (answer.status, answer.json["id"]) == (503, 7)
    store.away.clear()
    (await client.endpoint.node()).is_stopping = True
    for answer in (
        await client.request("ping", id=7),
        await send(
            client.endpoint,
            body=request(*modern(), id=7),
            headers={VERSION: "2026-07-28", "mcp-method": "tools/list"},
        ),
    ):
        assert (answer.status, answer.json["id"]) == (503, 7)


async def test_a_caller_with_too_many_busy_sessions(build_endpoint, endpoint, clock, gate):
    policy = {"max_sessions_per_principal": 1}
    store = MemoryBackend(build_endpoint(**policy).policy, clock.now)
    client = SessionClient(build_endpoint(store, **policy), user="ann")
    await client.open()
    client.version = "2025-11-25"
    store.is_busy = lambda key: True  # type: ignore[method-assign]
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    answer = await send(client.endpoint, body=request("initialize", params, id=7), user="ann")
    assert (answer.status, answer.json["id"]) == (429, 7)
