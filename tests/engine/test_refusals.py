"""Every refusal: its status and code, its id (ADR 5) where a body was read, that nothing ran and nothing is left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.sessionful.post import _durable_body
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Request
from tests.support.calls import opened
from tests.support.client import ENVELOPE, Answer, SessionClient, request, send, send_sessionless
from tests.support.stores import left_behind
from tests.support.tools import Gate

VERSION, SESSION = "mcp-protocol-version", "mcp-session-id"
ARGUMENTS = {"name": "add", "arguments": {"a": 1, "b": 2}}
CALL = request("tools/call", ARGUMENTS, id=7)
MODERN = {VERSION: "2026-07-28", "mcp-method": "tools/call", "mcp-name": "add", SESSION: None}
MODERN_CALL = request("tools/call", {**ARGUMENTS, "_meta": ENVELOPE}, id=7)
MODERN_LISTEN = request("subscriptions/listen", {"notifications": {}, "_meta": ENVELOPE}, id=7)
BIG_CLIENT = {"clientInfo": {"name": "x" * 20_000}, "capabilities": {}}
DEEP = b"[" * 100_000 + b"]" * 100_000


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A request to an open session, and how it is refused."""

    status: int = 400
    code: int = -32600
    id: Any = 7
    """None where the refusal has none."""
    body: Any = field(default_factory=lambda: CALL)
    raw: bytes | None = None
    method: str = "POST"
    headers: dict[str, str | None] = field(default_factory=dict)
    lines: tuple[tuple[str, str], ...] = ()
    user: str = "ann"


def with_argument(value: bytes) -> bytes:
    return json.dumps(CALL).encode().replace(b'"a": 1', b'"a": ' + value)


def header(name: str, value: str | None, **members: Any) -> Bad:
    return Bad(headers={name: value}, **members)


def modern(**members: Any) -> Bad:
    """Refuse a request of 2026-07-28."""
    return Bad(
        **{"code": -32020, "body": MODERN_CALL, **members, "headers": {**MODERN, **members.get("headers", {})}}
    )


# The rules themselves, in all their shades, are tested in tests/protocol and in test_json_limits.py.
BEFORE_THE_BODY = {
    "a foreign origin": header("origin", "https://evil.example", status=403),
    "a foreign host": header("host", "evil example"),
    "two hosts": Bad(lines=(("host", "evil.example"),)),
    "no credentials": header("authorization", "none", status=401),
    "two session ids": Bad(lines=((SESSION, "A" * 43),)),
    "a session id outside ASCII": header(SESSION, "é"),
    "a session id of 100 000 characters": header(SESSION, "A" * 100_000, status=431),
    "two versions": Bad(lines=((VERSION, "2025-11-25"),)),
    "two versions, one of 2026": Bad(code=-32020, lines=((VERSION, "2026-07-28"),)),
    "a control character in the version": header(VERSION, "2025-11-25\x00"),
    "another method": Bad(status=405, method="PUT"),
    "no accept": header("accept", None, status=406),
    "accept that refuses both": header("accept", "*/*;q=0", status=406),
    "accept that is garbage": header("accept", ";;q=,,", status=406),
    "accept that is too long": header("accept", "a" * 2000, status=431),
    "no content type": header("content-type", None, status=415),
    "a content type of a form": header("content-type", "multipart/form-data", status=415),
    "another charset": header("content-type", "application/json; charset=latin-1", status=415),
    "a compressed body": header("content-encoding", "gzip", status=415),
    "a declared length over the limit": header("content-length", "99999999", status=413),
    "a stream for a client that takes none": header("accept", "application/json", status=406, method="GET"),
    "an event id outside ASCII": header("last-event-id", "g-\xb2", method="GET"),
    "two event ids": Bad(method="GET", lines=(("last-event-id", "g-0"), ("last-event-id", "g-0"))),
    **{
        f"the event id {id!r}": header("last-event-id", id, method="GET")
        for id in ("x", "g-01", "g-" + "9" * 15, "g-" + "9" * 100, "0123abcd-1")
    },
    "2026: two version headers": modern(lines=((VERSION, "2026-07-28"),)),
    "2026: two method headers": modern(lines=(("mcp-method", "tools/call"),)),
    "2026: a method header outside ASCII": modern(headers={"mcp-method": "tools/c\xe4ll"}),
    "2026: a parameter header outside ASCII": modern(headers={"mcp-param-a": "\xe4"}),
}
AFTER_THE_BODY = {
    "no session id": header(SESSION, None),
    "an unknown session": header(SESSION, "A" * 43, status=404),
    "a session id longer than any": header(SESSION, "A" * 512, status=404),
    "another principal's session": Bad(status=404, user="bob"),
    "a version nobody serves": header(VERSION, "2020-01-01"),
    "a version of 2026 without its envelope": header(VERSION, "2026-07-28", code=-32602),
    "initialize under 2026": header(VERSION, "2026-07-28", code=-32020, body=request("initialize", {}, id=7)),
    "a client that says too much of itself": header(
        SESSION, None, code=-32602, body=request("initialize", BIG_CLIENT, id=7)
    ),
    "a parameter that is too long": Bad(code=-32602, body=request("tools/call", {"name": "x" * 600}, id=7)),
    "not JSON": Bad(code=-32700, id=None, raw=b"{nonsense"),
    "not JSON behind the id": Bad(
        code=-32700, raw=b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":nonsense}}'
    ),
    "not UTF-8": Bad(code=-32700, raw=b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":"\xff"}}'),
    "nested 100 000 deep": Bad(code=-32700, id=None, raw=DEEP),
    "arguments nested 2 000 deep": Bad(code=-32700, raw=with_argument(b"[" * 2000 + b"]" * 2000)),
    "arguments nested 100 000 deep": Bad(status=413, raw=with_argument(DEEP)),
    "an integer argument of 310 digits": Bad(code=-32700, raw=with_argument(b"1" * 310)),
    "an array": Bad(id=None, body=[CALL]),
    **{f"JSON {value!r}": Bad(id=None, raw=json.dumps(value).encode()) for value in (None, True, 1, 1.5, "text")},
    "no jsonrpc": Bad(id=1, body={"id": 1, "method": "ping"}),
    "params that are an array": Bad(body={**CALL, "params": [1]}),
    **{f"the id {id!r}": Bad(id=None, body={**CALL, "id": id}) for id in (None, True, 1e300, {"a": 1}, [1])},
    "an id of 257 characters": Bad(id=None, body={**CALL, "id": "x" * 257}),
    "an id of 257 digits": Bad(id=None, raw=json.dumps(CALL).encode().replace(b"7", b"-" + b"1" * 257)),
    "a reply to a request never made": Bad(id=None, body={"jsonrpc": "2.0", "id": "x.1.y", "result": {}}),
    "a reply without an id": Bad(id=None, body={"jsonrpc": "2.0", "result": {}}),
    "2026: no version header": modern(headers={VERSION: None}),
    "2026: a version that is not the body's": modern(headers={VERSION: "2025-11-25"}),
    "2026: no method header": modern(headers={"mcp-method": None}),
    "2026: another method in the header": modern(headers={"mcp-method": "TOOLS/CALL"}),
    "2026: no name header": modern(headers={"mcp-name": None}),
    "2026: a name that is not the body's": modern(headers={"mcp-name": "fail"}),
    "2026: a name in broken base64": modern(headers={"mcp-name": "=?base64?Y?="}),
    "2026: an array": modern(code=-32600, id=None, body=[MODERN_CALL]),
    "2026: a reply": modern(code=-32600, id=None, body={"jsonrpc": "2.0", "id": 1, "result": None}),
    "2026: meta that is no object": modern(code=-32602, body=request("tools/call", {**ARGUMENTS, "_meta": 1}, id=7)),
    "2026: unknown method": modern(
        status=404, code=-32601, body={**MODERN_CALL, "method": "x"}, headers={"mcp-method": "x"}
    ),
    "2026: a listen without a stream": modern(
        status=406,
        code=-32600,
        body=MODERN_LISTEN,
        headers={"mcp-method": "subscriptions/listen", "mcp-name": None, "accept": "application/json"},
    ),
}


def assert_refused(answer: Answer, bad: Bad) -> None:
    assert answer.stream is None
    assert (answer.status, answer.error_code) == (bad.status, bad.code), answer.body
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == ({"jsonrpc", "error"} if bad.id is None else {"jsonrpc", "error", "id"}), "never null"
    assert (answer.json["jsonrpc"], answer.json.get("id")) == ("2.0", bad.id)
    assert b"Traceback" not in answer.body
    assert len(answer.body) < 2000


@pytest.mark.parametrize("name", BEFORE_THE_BODY)
async def test_a_refusal_before_the_body_has_no_id(
    endpoint: Endpoint, gate: Gate, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bad = BEFORE_THE_BODY[name]
    client = await opened(endpoint, user="ann")
    is_read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal is_read
        is_read = True
        yield json.dumps(bad.body).encode()

    async def nobody(request: HTTPRequest) -> Any:
        raise ProtocolError(401, INVALID_REQUEST, "who are you?")

    with monkeypatch.context() as patch:
        if bad.status == 401:
            patch.setattr(endpoint, "_authenticate", nobody)
        headers = {**client.headers, **bad.headers}
        answer = await send(
            endpoint, bad.method, headers=headers, extra_lines=[*bad.lines], user=bad.user, chunks=body()
        )
    assert_refused(answer, Bad(status=bad.status, code=bad.code, id=None))
    assert (is_read, gate.runs) == (False, 0)
    assert set(await left_behind(endpoint)) == {"sessions"}
    assert (await client.request("ping")).json["result"] == {}


@pytest.mark.parametrize("name", AFTER_THE_BODY)
async def test_a_refusal_behind_the_body_has_the_id(endpoint: Endpoint, gate: Gate, name: str) -> None:
    bad = AFTER_THE_BODY[name]
    client = await opened(endpoint, user="ann")
    headers = {**client.headers, **bad.headers}
    answer = await send(endpoint, bad.method, bad.body, raw=bad.raw, headers=headers, user=bad.user)
    assert_refused(answer, bad)
    assert gate.runs == 0
    assert set(await left_behind(endpoint)) == {"sessions"}
    assert (await client.request("ping")).json["result"] == {}


@pytest.mark.parametrize("id", [0, "seven", "", -1, 10**30], ids=repr)
@pytest.mark.parametrize("name", ["an unknown session", "a version nobody serves", "2026: no method header"])
async def test_a_refusal_has_any_id_as_it_was(client: SessionClient, name: str, id: Any) -> None:
    bad = AFTER_THE_BODY[name]
    answer = await client.post({**bad.body, "id": id}, headers=bad.headers)
    assert (answer.status, answer.json["id"]) == (bad.status, id)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":"a\\"b","method":"ping","params":{"x":99999999999999999999}}',
        b'{"jsonrpc":"2.0","method":"ping","params":{"x":99999999999999999999},"id":5,"z":1}',
        b'{"z":0,"jsonrpc":"2.0","id":5,"method":"ping","params":{"x":99999999999999999999}}',
    ],
)
async def test_a_refusal_of_what_was_decoded_has_the_id_wherever_it_stands(endpoint: Endpoint, raw: bytes) -> None:
    answer = await send(endpoint, raw=raw)
    assert (answer.status, answer.error_code) == (400, -32600)
    assert answer.json["id"] in (5, 'a"b')


async def test_a_node_that_stops_refuses_with_503_and_the_id(endpoint: Endpoint, client: SessionClient) -> None:
    node = await endpoint.pool.node()
    node.is_draining = node.is_stopping = True
    with_id = [await client.request("ping", id=7), await send_sessionless(endpoint, "tools/list", id=7)]
    answers = [*with_id, await client.get(), await client.delete()]
    assert [(answer.status, answer.headers.get("retry-after")) for answer in answers] == [(503, "1")] * 4
    assert [answer.json.get("id") for answer in answers] == [7, 7, None, None]


@pytest.mark.parametrize(("version", "connection"), [("1.1", "close"), ("1.0", None), ("2", None), ("", None)])
async def test_a_node_that_stops_has_a_proxy_drop_the_connection(
    endpoint: Endpoint, version: str, connection: str | None
) -> None:
    node = await endpoint.pool.node()
    node.is_draining = node.is_stopping = True
    answer = await send_sessionless(endpoint, "tools/list", http_version=version)
    assert answer.headers.get("connection") == connection


# -- values that are JSON, but not what a handler takes ----------------------------------------------


@pytest.mark.parametrize("value", [b"1" + b"0" * 400, b"1.5", b"null"])
async def test_an_argument_that_is_no_integer_does_not_reach_the_handler(
    client: SessionClient, gate: Gate, value: bytes
) -> None:
    answer = await client.post(None, raw=with_argument(value))
    assert answer.status in (200, 400)
    assert "error" in answer.json or answer.json["result"]["isError"]
    assert gate.runs == 0
    assert set(await left_behind(client.endpoint)) == {"sessions"}


@pytest.mark.parametrize("depth", [200, 300, 600, 1000])
async def test_a_deep_initialize_is_refused_or_served(endpoint: Endpoint, depth: int) -> None:
    client = {"clientInfo": {"name": "test", "version": "1"}, "capabilities": {"experimental": {"deep": "?"}}}
    body = json.dumps(request("initialize", {"protocolVersion": "2025-11-25", **client})).encode()
    answer = await send(endpoint, raw=body.replace(b'"?"', b'{"a":' * depth + b"1" + b"}" * depth))
    assert answer.status in (200, 400)
    if SESSION in answer.headers:
        headers: dict[str, str | None] = {SESSION: answer.headers[SESSION]}
        assert (await send(endpoint, body=request("ping"), headers=headers)).status == 200
    else:
        assert "error" in answer.json
        assert await left_behind(endpoint) == {}


def test_what_is_nested_too_deep_to_be_kept_for_another_node_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ProtocolError, match="nested too deep to be stored") as caught:
        _durable_body(Request(1, "tools/call", {"name": "x", "arguments": {"x": deep}}))
    assert (caught.value.status, caught.value.code) == (400, -32602)
