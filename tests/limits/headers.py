"""Limits of headers."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.auth.claims import MAX_TOKEN_LENGTH
from mcp_transport.auth.introspection import IntrospectionAuthenticator
from mcp_transport.auth.jwt import JWTAuthenticator
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol import origin
from mcp_transport.protocol.headers import MAX_CHARACTERS, MAX_LINES, MAX_LIST, MAX_SESSION_ID, Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.idempotency import MAX_KEY
from tests.limits.cases import Stage, case
from tests.support.client import Answer, request, send

PING = request("ping")
METHODS = ("GET", "DELETE", "OPTIONS", "PUT", "POST")


async def refused(stage: Stage, extra: list[tuple[str, str]]) -> Answer:
    """Send the same headers with each method, without and with a session; all are refused alike."""
    foreign = {"host": "evil.example", "origin": "https://evil.example"}
    clients: list[dict[str, str | None]] = [{}, {**stage.client.headers}, {**foreign}]
    answers = [
        await send(stage.endpoint, method, PING, headers=headers, extra_lines=extra)
        for method in METHODS
        for headers in clients
    ]
    assert {answer.status for answer in answers} == {431}
    return answers[-1]


@case("header lines", MAX_LINES)
async def lines(stage: Stage) -> Answer:
    room = MAX_LINES - 5  # host, accept, content-type, session id, version
    assert (await stage.client.post(PING, extra_lines=[("a", "1")] * room)).status == 200
    assert (await stage.client.post(PING, extra_lines=[("a", "1")] * (room + 1))).status == 431
    await refused(stage, [(f"a{number}", "1") for number in range(100_000)])
    return await refused(stage, [("a", "1")] * 100_000)


@case("total size of header names and values", MAX_CHARACTERS)
async def characters(stage: Stage) -> Answer:
    assert (await stage.client.post(PING, extra_lines=[("a", "1" * (MAX_CHARACTERS - 500))])).status == 200
    for name in (
        "cookie",
        "authorization",
        "forwarded",
        "mcp-name",
        "mcp-param-a",
        "mcp-session-id",
        "last-event-id",
    ):
        assert "holds" not in (await refused(stage, [(name, "1" * MAX_CHARACTERS)])).json["error"]["message"]
    return await refused(stage, [("a" * 2_000_000, "1")])


@case("`Accept`, `Content-Type`, `Access-Control-Request-Headers`, each", MAX_LIST)
async def lists(stage: Stage) -> Answer:
    wanted = "application/json, text/event-stream"
    longest = wanted + "," * (MAX_LIST - len(wanted))
    assert (await stage.client.post(PING, headers={"accept": longest})).status == 200
    assert (await stage.client.post(PING, headers={"accept": longest + ","})).status == 431
    long_type = "application/json" + ";" * MAX_LIST
    assert (await stage.client.post(PING, headers={"content-type": long_type})).status == 431
    asked: dict[str, str | None] = {
        "access-control-request-headers": "mcp-param-a," * 100,
        "origin": "http://localhost",
    }
    return await send(stage.endpoint, "OPTIONS", headers=asked)


@case("`Host`", origin._MAX_HOST)
async def host(stage: Stage) -> Answer:
    endpoint = stage.build(allowed_hosts=("*",))
    assert (await send(endpoint, body=PING, headers={"host": "a" * origin._MAX_HOST})).error_code == -32600
    answer = await send(endpoint, "OPTIONS", headers={"host": "a" * origin._MAX_HOST})
    assert answer.status == 204
    return await send(endpoint, "OPTIONS", headers={"host": "a" * (origin._MAX_HOST + 1)})


@case("`Mcp-Session-Id`", MAX_SESSION_ID)
async def session_id(stage: Stage) -> Answer:
    for method in ("GET", "DELETE", "POST"):
        for length in (MAX_SESSION_ID, MAX_SESSION_ID + 1, 5000):
            answer = await send(stage.endpoint, method, PING, headers={"mcp-session-id": "a" * length})
            assert answer.status == 404
    return answer


@case("a bearer token (`jwt`, `introspection`)", MAX_TOKEN_LENGTH)
async def bearer_token(stage: Stage) -> None:
    common: dict[str, Any] = {"issuer": "https://auth.example.com", "audience": "https://shop.example.com"}
    judges = (
        JWTAuthenticator(secret="s" * 32, **common),
        IntrospectionAuthenticator(url="https://auth.example.com/introspect", token="t", **common),
    )
    headers = Headers([("authorization", "Bearer " + "a" * MAX_TOKEN_LENGTH + ".a.a")])
    for judge in judges:
        with pytest.raises(InvalidCredentials, match="too long"):
            await judge.authenticate(HTTPRequest(method="POST", headers=headers))


@case("an `Idempotency-Key`, without its quotes", MAX_KEY)
async def idempotency_key(stage: Stage) -> Answer:
    ping = {**PING, "id": 2}
    for key in ("a" * MAX_KEY, f'"{"b" * MAX_KEY}"', f'"{chr(92) * 2 * MAX_KEY}"'):
        assert (await stage.client.post(ping, headers={"idempotency-key": key})).status == 200
    return await stage.client.post(ping, headers={"idempotency-key": "a" * (MAX_KEY + 1)})
