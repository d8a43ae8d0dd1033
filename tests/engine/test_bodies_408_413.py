"""Bodies that are too large (413), stop arriving (408), or come in another encoding than UTF-8."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import ENVELOPE, SessionClient, request, send
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import left_behind
from tests.support.tools import Gate

ARGUMENTS = {"name": "add", "arguments": {"a": 1, "b": 2}}
MODERN = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "add"}
MODERN_CALL = request("tools/call", {**ARGUMENTS, "_meta": ENVELOPE})
_TEXT = json.dumps(request("tools/call", ARGUMENTS)).encode()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (gzip.compress(_TEXT), "gzip"),
        *((zlib.compress(_TEXT, level), "deflate") for level in (1, 6, 9)),
        (b"\x28\xb5\x2f\xfd" + _TEXT, "zstd"),
        (b"\xef\xbb\xbf" + _TEXT, "byte order mark"),
        *((_TEXT.decode().encode(name), "UTF-16") for name in ("utf-16", "utf-16-le", "utf-16-be")),
        *((_TEXT.decode().encode(name), "UTF-32") for name in ("utf-32", "utf-32-be")),
        ('{"a": "é"}'.encode("latin-1"), "bytes that are not"),
        (b"", "empty"),
    ],
)
async def test_a_body_in_another_encoding_is_refused_in_plain_words(
    client: SessionClient, raw: bytes, words: str
) -> None:
    answer = await client.post(None, raw=raw)
    assert (answer.status, answer.error_code) == (400, -32700)
    assert words in answer.json["error"]["message"]
    assert "surrogate" not in answer.json["error"]["message"]


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
async def test_a_body_over_the_limit_is_not_read_whole(
    build_endpoint: BuildEndpoint, declared: str | None, asked: int
) -> None:
    endpoint = build_endpoint(max_request_bytes=100)
    body = Body(*[b"x" * 40] * 25)
    answer = await send(endpoint, headers={"content-length": declared}, chunks=body)
    assert (answer.status, answer.error_code, "id" in answer.json) == (413, -32600, False)
    assert body.asked == asked


async def test_a_body_of_exactly_the_limit_is_read(build_endpoint: BuildEndpoint) -> None:
    body = json.dumps(MODERN_CALL).encode()
    endpoint = build_endpoint(max_request_bytes=len(body))
    headers = {**MODERN, "content-length": str(len(body))}
    assert (await send(endpoint, headers=headers, chunks=Body(body[:10], body[10:]))).status == 200
    assert (await send(endpoint, headers=MODERN, chunks=Body(body, b" "))).status == 413


@pytest.mark.parametrize("chunks", [(), (b'{"jsonrpc"',), (json.dumps(MODERN_CALL).encode(),)])
async def test_a_body_that_stops_arriving_is_given_up(
    endpoint: Endpoint, gate: Gate, chunks: tuple[bytes, ...]
) -> None:
    answer = await send(endpoint, headers=MODERN, chunks=Body(*chunks, then_stops=True))
    assert (answer.status, answer.error_code, "id" in answer.json) == (408, -32600, False)
    assert gate.runs == 0
    assert await left_behind(endpoint) == {}
