"""Everything a client can get wrong: the status, the code, and that nothing ran and nothing is left behind."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mcp_transport.engine.sessionful.post import _durable_body
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.jsonrpc import Request
from tests.support.client import ENVELOPE, Answer, SessionClient, request, send, silent
from tests.support.stores import left_behind

VERSION = "mcp-protocol-version"
MODERN = {VERSION: "2026-07-28", "mcp-method": "tools/call", "mcp-name": "add"}
ARGUMENTS = {"name": "add", "arguments": {"a": 1, "b": 2}}
CALL = request("tools/call", ARGUMENTS)
MODERN_CALL = request("tools/call", {**ARGUMENTS, "_meta": ENVELOPE})
_CLIENT_INFO = {"clientInfo": {"name": "test", "version": "1"}}
DEEP = b"[" * 100_000 + b"]" * 100_000


@dataclass(frozen=True)
class Bad:
    """A request to an open session, and how it is refused."""

    name: str
    status: int
    code: int
    body: Any = None
    raw: bytes | None = None
    method: str = "POST"
    headers: dict[str, str | None] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    user: str = "ann"


def with_id(id: bytes) -> bytes:
    return json.dumps({**CALL, "id": "?"}).encode().replace(b'"?"', id)


def with_argument(value: bytes) -> bytes:
    return json.dumps(CALL).encode().replace(b'"a": 1', b'"a": ' + value)


BODIES = [
    Bad("not JSON", 400, -32700, raw=b"{nonsense"),
    Bad("not UTF-8", 400, -32700, raw=b'{"jsonrpc":"2.0","id":1,"method":"\xff"}'),
    Bad("UTF-16", 400, -32700, raw=json.dumps(CALL).encode("utf-16")),
    Bad("a byte order mark", 400, -32700, raw=b"\xef\xbb\xbf" + json.dumps(CALL).encode()),
    Bad("empty", 400, -32700, raw=b""),
    Bad("blank", 400, -32700, raw=b" \n "),
    Bad("two documents", 400, -32700, raw=json.dumps(CALL).encode() * 2),
    Bad("NaN", 400, -32700, raw=with_argument(b"NaN")),
    Bad("a lone surrogate", 400, -32700, raw=with_argument(b'"\\ud800"')),
    Bad("a number beyond any double", 400, -32700, raw=with_argument(b"1e999")),
    Bad("nested 100 000 deep", 400, -32700, raw=DEEP),
    Bad("arguments nested 2 000 deep", 400, -32700, raw=with_argument(b"[" * 2000 + b"]" * 2000)),
    Bad("arguments nested 100 000 deep", 413, -32600, raw=with_argument(DEEP)),
    Bad("an array", 400, -32600, body=[CALL]),
    Bad("an empty array", 400, -32600, body=[]),
    *[Bad(f"JSON {value!r}", 400, -32600, raw=json.dumps(value).encode()) for value in (None, True, 1, 1.5, "text")],
    Bad("an empty object", 400, -32600, body={}),
    Bad("no jsonrpc", 400, -32600, body={"id": 1, "method": "ping"}),
    Bad("another jsonrpc", 400, -32600, body={**CALL, "jsonrpc": "1.0"}),
    Bad("a method that is no string", 400, -32600, body={**CALL, "method": 1}),
    Bad("an empty method", 400, -32600, body={**CALL, "method": ""}),
    Bad("params that are an array", 400, -32600, body={**CALL, "params": [1]}),
    Bad("a call with a result", 400, -32600, body={**CALL, "result": {}}),
    Bad("an integer id of 257 digits", 400, -32600, raw=with_id(b"1" * 257)),
    Bad("a negative integer id of 257 digits", 400, -32600, raw=with_id(b"-" + b"1" * 257)),
    Bad("an integer argument of 310 digits", 400, -32700, raw=with_argument(b"1" * 310)),
    Bad("a negative argument of 310 digits", 400, -32700, raw=with_argument(b"[1, -" + b"1" * 310 + b"]")),
    *[
        Bad(f"the id {id!r}", 400, -32600, body={**CALL, "id": id})
        for id in (None, True, False, 1.5, 1e300, {}, {"a": 1}, [], [1])
    ],
    Bad("a reply to a request never made", 400, -32600, body={"jsonrpc": "2.0", "id": "x.1.y", "result": {}}),
    Bad("a reply without an id", 400, -32600, body={"jsonrpc": "2.0", "result": {}}),
    Bad("a reply with both", 400, -32600, body={"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}),
    Bad("a reply with a bad error", 400, -32600, body={"jsonrpc": "2.0", "id": 1, "error": {"code": "x"}}),
]
HEADERS = [
    Bad("no session id", 400, -32600, body=CALL, headers={"mcp-session-id": None}),
    Bad("an unknown session", 404, -32600, body=CALL, headers={"mcp-session-id": "A" * 43}),
    Bad("a session id longer than any", 404, -32600, body=CALL, headers={"mcp-session-id": "A" * 512}),
    Bad("a session id of 100 000 characters", 431, -32600, body=CALL, headers={"mcp-session-id": "A" * 100_000}),
    Bad("another principal's session", 404, -32600, body=CALL, user="bob"),
    Bad("two session ids", 400, -32600, body=CALL, lines=[("mcp-session-id", "A" * 43)]),
    Bad("a session id outside ASCII", 400, -32600, body=CALL, headers={"mcp-session-id": "é"}),
    Bad("a version nobody serves", 400, -32600, body=CALL, headers={VERSION: "2020-01-01"}),
    Bad("two versions", 400, -32600, body=CALL, lines=[(VERSION, "2025-11-25")]),
    Bad("two versions, one of 2026", 400, -32020, body=CALL, lines=[(VERSION, "2026-07-28")]),
    Bad("a version outside ASCII", 400, -32600, body=CALL, headers={VERSION: "2025-11-25\xa0"}),
    Bad("a control character in the version", 400, -32600, body=CALL, headers={VERSION: "2025-11-25\x00"}),
    Bad("a version of 2026 without its envelope", 400, -32602, body=CALL, headers={VERSION: "2026-07-28"}),
    Bad("no accept", 406, -32600, body=CALL, headers={"accept": None}),
    Bad("accept of something else", 406, -32600, body=CALL, headers={"accept": "text/html, image/*"}),
    Bad("accept that refuses both", 406, -32600, body=CALL, headers={"accept": "*/*;q=0"}),
    Bad("accept that is garbage", 406, -32600, body=CALL, headers={"accept": ";;q=,,"}),
    Bad("accept outside ASCII", 400, -32600, body=CALL, headers={"accept": "application/json\xe9"}),
    Bad("no content type", 415, -32600, body=CALL, headers={"content-type": None}),
    Bad("another content type", 415, -32600, body=CALL, headers={"content-type": "text/plain"}),
    Bad("a content type of a form", 415, -32600, body=CALL, headers={"content-type": "multipart/form-data"}),
    *[
        Bad(f"the encoding {coding!r}", 415, -32600, body=CALL, headers={"content-encoding": coding})
        for coding in ("gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "gzip, br", "x-gzip", "*")
    ],
    Bad(
        "two encodings", 415, -32600, body=CALL, lines=[("content-encoding", "identity"), ("content-encoding", "br")]
    ),
    Bad("another charset", 415, -32600, body=CALL, headers={"content-type": "application/json; charset=latin-1"}),
    Bad("two content types", 400, -32600, body=CALL, lines=[("content-type", "text/plain")]),
    Bad("another method", 405, -32600, body=CALL, method="PUT"),
    Bad("a method nobody knows", 405, -32600, body=CALL, method="BREW"),
    Bad("a stream for a client that takes none", 406, -32600, method="GET", headers={"accept": "application/json"}),
    *[
        Bad(f"the event id {id!r}", 400, -32600, method="GET", headers={"last-event-id": id})
        for id in (
            "x",
            "-",
            "g",
            "g-",
            "g--1",
            "g-01",
            "g-1e3",
            "g-" + "9" * 15,
            "g-" + "9" * 100,
            "0123abcd-1",
            "G-0",
        )
    ],
    Bad("an event id outside ASCII", 400, -32600, method="GET", headers={"last-event-id": "g-\xb2"}),
    Bad("two hosts", 400, -32600, body=CALL, lines=[("host", "evil.example")]),
    Bad("two event ids", 400, -32600, method="GET", lines=[("last-event-id", "g-0"), ("last-event-id", "g-0")]),
]
SESSIONLESS = [
    Bad("no version header", 400, -32020, body=MODERN_CALL, headers={VERSION: None}),
    Bad("a version that is not the body's", 400, -32020, body=MODERN_CALL, headers={VERSION: "2025-11-25"}),
    Bad("two version headers", 400, -32020, body=MODERN_CALL, lines=[(VERSION, "2026-07-28")]),
    Bad("no method header", 400, -32020, body=MODERN_CALL, headers={"mcp-method": None}),
    Bad("two method headers", 400, -32020, body=MODERN_CALL, lines=[("mcp-method", "tools/call")]),
    Bad("a method header outside ASCII", 400, -32020, body=MODERN_CALL, headers={"mcp-method": "tools/c\xe4ll"}),
    Bad("a name that is not the body's", 400, -32020, body=MODERN_CALL, headers={"mcp-name": "fail"}),
    Bad("a name header outside ASCII", 400, -32020, body=MODERN_CALL, headers={"mcp-name": "\xe4dd"}),
    Bad("a name in broken base64", 400, -32020, body=MODERN_CALL, headers={"mcp-name": "=?base64?Y?="}),
    Bad("a parameter header outside ASCII", 400, -32020, body=MODERN_CALL, headers={"mcp-param-a": "\xe4"}),
    Bad("an array", 400, -32600, body=[MODERN_CALL]),
    Bad("a reply", 400, -32600, body={"jsonrpc": "2.0", "id": 1, "result": {}}),
    Bad("meta that is no object", 400, -32602, body=request("tools/call", {**ARGUMENTS, "_meta": 1})),
    Bad("a method that is not there", 404, -32601, body={**MODERN_CALL, "method": "x"}, headers={"mcp-method": "x"}),
]


def assert_refused(answer: Answer, bad: Bad) -> None:
    assert answer.stream is None
    assert (answer.status, answer.error_code) == (bad.status, bad.code), answer.body
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) <= {"jsonrpc", "error", "id"}
    assert answer.json["jsonrpc"] == "2.0"
    assert answer.json.get("id", 1) == 1, "never null"
    assert b"Traceback" not in answer.body
    assert len(answer.body) < 2000


@pytest.mark.parametrize("bad", [*BODIES, *HEADERS], ids=lambda bad: bad.name)
async def test_a_bad_request_to_a_session(endpoint, gate, bad):
    client = SessionClient(endpoint, user="ann")
    await client.open()
    headers = {**client.headers, **bad.headers}
    answer = await send(
        endpoint, bad.method, bad.body, raw=bad.raw, headers=headers, extra_lines=bad.lines, user=bad.user
    )
    assert_refused(answer, bad)
    assert gate.runs == 0
    assert set(await left_behind(endpoint)) == {"sessions"}
    assert (await client.request("ping")).json["result"] == {}


@pytest.mark.parametrize("bad", SESSIONLESS, ids=lambda bad: bad.name)
async def test_a_bad_sessionless_request(endpoint, gate, bad):
    answer = await send(endpoint, body=bad.body, headers={**MODERN, **bad.headers}, extra_lines=bad.lines)
    assert_refused(answer, bad)
    assert gate.runs == 0
    assert await left_behind(endpoint) == {}


@pytest.mark.parametrize("coding", ["gzip", "identity, br"])
async def test_a_compressed_body_is_told_apart_by_its_header(client, coding):
    answer = await client.post(CALL, headers={"content-encoding": coding})
    assert "Content-Encoding" in answer.json["error"]["message"]
    assert coding in answer.json["error"]["message"]
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity", " identity ,"])
async def test_a_body_that_is_not_encoded_may_say_so(client, coding):
    assert (await client.post(CALL, headers={"content-encoding": coding})).status == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_encoding_of_no_body_is_nobodys_business(client, method):
    answer = await send(client.endpoint, method, headers={**client.headers, "content-encoding": "gzip"})
    assert answer.status in (200, 204)


_TEXT = json.dumps(CALL).encode()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (gzip.compress(_TEXT), "gzip"),
        (zlib.compress(_TEXT, 1), "deflate"),
        (zlib.compress(_TEXT, 6), "deflate"),
        (zlib.compress(_TEXT, 9), "deflate"),
        (b"\x28\xb5\x2f\xfd" + _TEXT, "zstd"),
        (b"\xef\xbb\xbf" + _TEXT, "byte order mark"),
        (_TEXT.decode().encode("utf-16"), "UTF-16"),
        (_TEXT.decode().encode("utf-16-le"), "UTF-16"),
        (_TEXT.decode().encode("utf-16-be"), "UTF-16"),
        (_TEXT.decode().encode("utf-32"), "UTF-32"),
        (_TEXT.decode().encode("utf-32-be"), "UTF-32"),
        ('{"a": "é"}'.encode("latin-1"), "bytes that are not"),
        (b"", "empty"),
    ],
)
async def test_a_body_in_another_encoding_is_refused_in_plain_words(client, raw, words):
    answer = await client.post(None, raw=raw)
    assert (answer.status, answer.error_code) == (400, -32700)
    assert words in answer.json["error"]["message"]
    assert "surrogate" not in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json ; Charset="UTF-8"',
        "application/json; charset=utf8; profile=x",
        "application/json;",
        "application/json; charset=US-ASCII",
    ],
)
async def test_a_content_type_in_any_spelling(client, content_type):
    assert (await client.post(CALL, headers={"content-type": content_type})).status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-16",
        "application/json;charset=ISO-8859-1",
        "application/jsonx",
        "text/json",
        "json",
    ],
)
async def test_another_content_type_is_refused(client, content_type):
    assert (await client.post(CALL, headers={"content-type": content_type})).status == 415


# -- values that are JSON, but not what a handler takes ----------------------------------------------


@pytest.mark.parametrize("value", [b"1" + b"0" * 400, b"1.5", b"null"])
async def test_an_argument_that_is_no_integer_does_not_reach_the_handler(client, gate, value):
    answer = await client.post(None, raw=with_argument(value))
    assert answer.status in (200, 400)
    assert "error" in answer.json or answer.json["result"]["isError"]
    assert gate.runs == 0
    assert set(await left_behind(client.endpoint)) == {"sessions"}


@pytest.mark.parametrize("depth", [200, 300, 600, 1000])
async def test_a_deep_initialize_is_refused_or_served(endpoint, depth):
    params = {"protocolVersion": "2025-11-25", "capabilities": {"experimental": {"deep": "?"}}, **_CLIENT_INFO}
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    answer = await send(endpoint, raw=json.dumps(request("initialize", params)).encode().replace(b'"?"', deep))
    assert answer.status in (200, 400)
    if "mcp-session-id" in answer.headers:
        headers = {"mcp-session-id": answer.headers["mcp-session-id"]}
        assert (await send(endpoint, body=request("ping"), headers=headers)).status == 200
    else:
        assert "error" in answer.json
        assert await left_behind(endpoint) == {}


@pytest.mark.parametrize(("tool", "arguments"), [("blocked", {}), ("count", {"steps": 1})])
async def test_a_second_request_with_an_id_in_flight_is_refused(client, clock, gate, tool, arguments):
    first = await silent(clock, gate.entered, client.call(tool, arguments, id=1))
    answer = await client.post(CALL)
    assert_refused(answer, Bad("", 400, -32600))
    assert gate.runs == 1
    gate.open.set()
    assert "result" in (await first.messages())[-1]
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_another_sessions_event_id_is_refused(client, gate):
    other = SessionClient(client.endpoint)
    await other.open()
    gate.open.set()
    frame = await (await other.call("count", {"steps": 1})).frame()
    assert_refused(await client.get(frame.id), Bad("", 400, -32600))


# -- the body that does not come, or does not end ----------------------------------------------------


class Body:
    """A body in chunks that counts how many were asked for."""

    def __init__(self, *chunks: bytes, then_stops: bool = False) -> None:
        self._chunks, self._then_stops = chunks, then_stops
        self.asked = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            self.asked += 1
            yield chunk
        if self._then_stops:
            raise TimeoutError  # as the adapter does


@pytest.mark.parametrize(("declared", "asked"), [(None, 3), ("50", 3), ("1000", 0), ("101", 0), ("9" * 30, 0)])
async def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(build_endpoint, declared, asked):
    endpoint = build_endpoint(max_request_bytes=100)
    body = Body(*[b"x" * 40] * 25)
    answer = await send(endpoint, headers={"content-length": declared}, chunks=body)
    assert_refused(answer, Bad("", 413, -32600))
    assert body.asked == asked


async def test_a_body_of_exactly_the_limit_is_read(build_endpoint):
    body = json.dumps(MODERN_CALL).encode()
    endpoint = build_endpoint(max_request_bytes=len(body))
    headers = {**MODERN, "content-length": str(len(body))}
    assert (await send(endpoint, headers=headers, chunks=Body(body[:10], body[10:]))).status == 200
    assert (await send(endpoint, headers=MODERN, chunks=Body(body, b" "))).status == 413


@pytest.mark.parametrize("chunks", [(), (b'{"jsonrpc"',), (json.dumps(MODERN_CALL).encode(),)])
async def test_a_body_that_stops_arriving_is_given_up(endpoint, gate, chunks):
    body = Body(*chunks, then_stops=True)
    answer = await send(endpoint, headers=MODERN, chunks=body)
    assert_refused(answer, Bad("", 408, -32600))
    assert gate.runs == 0
    assert await left_behind(endpoint) == {}


@pytest.mark.parametrize(
    "headers", [{"content-type": "text/plain"}, {"accept": "text/plain"}, {"host": "evil.example"}]
)
async def test_a_body_is_not_read_when_the_headers_are_refused(endpoint, headers):
    body = Body(b"{}")
    assert (await send(endpoint, headers=headers, chunks=body)).status in (400, 406, 415)
    assert body.asked == 0


@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":"a\\"b","method":"ping","params":{"x":99999999999999999999}}',
        b'{"jsonrpc":"2.0","method":"ping","params":{"x":99999999999999999999},"id":5,"z":1}',
        b'{"z":0,"jsonrpc":"2.0","id":5,"method":"ping","params":{"x":99999999999999999999}}',
    ],
)
async def test_a_refusal_of_what_was_decoded_has_the_id_wherever_it_stands(endpoint, raw):
    answer = await send(endpoint, raw=raw)
    assert (answer.status, answer.error_code) == (400, -32600)
    assert answer.json["id"] in (5, 'a"b')


def test_what_is_nested_too_deep_to_be_kept_for_another_node_is_refused():
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ProtocolError, match="nested too deep to be kept") as caught:
        _durable_body(Request(1, "tools/call", {"name": "x", "arguments": {"x": deep}}))
    assert (caught.value.status, caught.value.code) == (400, -32602)
