"""A proxy that answers chosen requests itself, as a server does that refuses them for load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mcp_transport.protocol.errors import INTERNAL_ERROR, error_body, overload_data
from tests.support.http.losing_proxy import listening, read_request

SECONDS = 0.7
MESSAGE = "too many calls at a time"
DATA = overload_data("MAX_CONCURRENT_CALLS_PER_CALLER", "caller", SECONDS)
Refusal = Callable[[Any], bytes]
"""Builds the bytes of a response to the request with this JSON-RPC id, None for a GET."""


def status(line: str) -> Refusal:
    """Refuse with a status and a JSON-RPC error."""

    def refuse(request_id: Any) -> bytes:
        return _response(line, "application/json", _error(request_id))

    return refuse


def stream(request_id: Any) -> bytes:
    """Refuse on a stream that has begun."""
    begun = b"id: refused-1\r\nretry: 100\r\ndata:\r\n\r\n"
    return _response(
        "200 OK", "text/event-stream", begun + b"id: refused-2\r\ndata: " + _error(request_id) + b"\r\n\r\n"
    )


def _error(request_id: Any) -> bytes:
    return json.dumps(error_body(INTERNAL_ERROR, MESSAGE, request_id=request_id, data=DATA)).encode()


def _response(line: str, content_type: str, content: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {line}\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\nRetry-After: 1\r\n\r\n"
    )
    return head.encode() + content


TOO_MANY, UNAVAILABLE, OK = (
    status("429 Too Many Requests"),
    status("503 Service Unavailable"),
    status("200 OK"),
)


@dataclass(frozen=True)
class Passed:
    """A request of a client."""

    kind: str
    """The JSON-RPC method, "reply", or "GET", "resumption" or "DELETE"."""
    session_id: str
    is_refused: bool


@dataclass
class RefusingProxy:
    """Pass requests on to the server at `target`; `refusals` by kind are used in turn, None passes a request on."""

    target: str
    refusals: dict[str, list[Refusal | None]]
    requests: list[Passed] = field(default_factory=list)

    def serve(self) -> AbstractAsyncContextManager[str]:
        """Listen; yield the URL."""
        return listening(self._handle)

    @property
    def refused(self) -> int:
        """How many requests were refused."""
        return sum(request.is_refused for request in self.requests)

    @property
    def session_ids(self) -> set[str]:
        """The sessions that requests named."""
        return {request.session_id for request in self.requests} - {""}

    @property
    def kinds(self) -> Sequence[str]:
        """The kind of each request."""
        return [request.kind for request in self.requests]

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(self.target)
        from_server, to_server = await asyncio.open_connection(target.hostname, target.port)
        directions = [
            asyncio.ensure_future(self._answers(from_server, writer)),
            asyncio.ensure_future(self._take(reader, to_server, writer)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_server.transport.abort()
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _take(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, answer: asyncio.StreamWriter
    ) -> None:
        while True:
            request = await read_request(client)
            head, _, body = request.partition(b"\r\n\r\n")
            message: Mapping[str, Any] = json.loads(body) if body else {}
            verb, *lines = head.decode("latin-1").split("\r\n")
            verb = verb.partition(" ")[0]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            kind = str(message.get("method", "reply")) if verb == "POST" else verb
            kind = "resumption" if "last-event-id" in headers else kind
            left = self.refusals.get(kind)
            refusal = left.pop(0) if left else None
            self.requests.append(Passed(kind, headers.get("mcp-session-id", ""), is_refused=refusal is not None))
            if refusal is None:
                server.write(request)
            else:
                answer.write(refusal(message.get("id")))
                await answer.drain()

    async def _answers(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while chunk := await server.read(65536):
            client.write(chunk)
            await client.drain()
