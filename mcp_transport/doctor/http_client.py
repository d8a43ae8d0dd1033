"""Requests and streams over the network, with the times at which things arrive; each request has a connection."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from mcp_transport.doctor.observations import SESSIONFUL, SESSIONLESS, Answer, DoctorOptions, StreamObservation

__all__ = ["BOTH", "EVENTS", "Call", "Wire", "alone", "in_session"]

PATIENCE: Final = 15.0
MAX_BYTES: Final = 4 * 1024 * 1024
BOTH: Final = "application/json, text/event-stream"
EVENTS: Final = "text/event-stream"
_META: Final = "io.modelcontextprotocol"
_Pieces = list[tuple[float, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request; `path` takes the place of the endpoint's own."""

    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    message: Any = None
    path: str = ""
    has_token: bool = True

    def adding(self, **headers: str) -> Call:
        """Return the call with further headers; an underscore stands for a hyphen."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        changed = {**self.headers, **more}
        return Call(
            method=self.method, headers=changed, message=self.message, path=self.path, has_token=self.has_token
        )


class Wire:
    """The way to one endpoint; no proxy of our environment is used, and no redirect followed."""

    def __init__(self, asked: DoctorOptions) -> None:
        self._asked = asked
        self._trusted = httpx2.create_ssl_context(verify=not asked.insecure)

    def client(self) -> httpx2.AsyncClient:
        """Return connections of their own."""
        return httpx2.AsyncClient(verify=self._trusted, timeout=None, trust_env=False)

    async def ask(self, call: Call, client: httpx2.AsyncClient | None = None) -> Answer:
        """Send a request, by a fresh connection unless there is a client, and return its whole answer."""
        heard = await self.listen(call, PATIENCE, client=client)
        answer = heard.answer
        fault = answer.fault or ("" if heard.end == "closed" else heard.end or f"no end within {PATIENCE:g} s")
        body = b"".join(piece for _, piece in heard.pieces)
        return Answer(**{**vars(answer), "body": body, "fault": fault})

    async def listen(
        self,
        call: Call,
        seconds: float,
        *,
        enough: Callable[[_Pieces], bool] = lambda _: False,
        client: httpx2.AsyncClient | None = None,
    ) -> StreamObservation:
        """Send a request and note when each piece of the answer arrives, until there is enough or time is up."""
        began, pieces, end = time.perf_counter(), _Pieces(), ""
        answer = Answer(fault=f"no answer within {seconds:g} s")
        try:
            async with asyncio.timeout(seconds), AsyncExitStack() as stack:
                own = client if client is not None else await stack.enter_async_context(self.client())
                response = await stack.enter_async_context(own.stream(**self._request(call)))
                answer = _head(response, time.perf_counter() - began)
                end = await _read(response, pieces, began, enough)
        except TimeoutError:
            pass
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            end = type(error).__name__
            if not answer.status:
                answer = Answer(fault=f"{end}: {error}".removesuffix(": "))
        return StreamObservation(answer, tuple(pieces), time.perf_counter() - began, end)

    def _request(self, call: Call) -> dict[str, Any]:
        headers = {"User-Agent": "mcp_doctor", "Accept-Encoding": "identity", "Accept": BOTH, **call.headers}
        if self._asked.token and call.has_token:
            headers["Authorization"] = f"Bearer {self._asked.token}"
        url = httpx2.URL(self._asked.url)
        if call.path:
            url = url.copy_with(raw_path=call.path.encode())
        content = None
        if call.message is not None:
            content, headers["Content-Type"] = json.dumps(call.message).encode(), "application/json"
        return {"method": call.method, "url": url, "headers": headers, "content": content}


def _head(response: httpx2.Response, seconds: float) -> Answer:
    stream = response.extensions.get("network_stream")
    line = str(stream.get_extra_info("client_addr")) if stream is not None else ""
    return Answer(
        status=response.status_code,
        http=response.http_version,
        headers={name.lower(): value for name, value in response.headers.items()},
        seconds=seconds,
        when=time.time(),
        line=line,
    )


async def _read(response: httpx2.Response, pieces: _Pieces, began: float, enough: Callable[[_Pieces], bool]) -> str:
    size = 0
    async with aclosing(response.aiter_raw()) as arriving:
        async for piece in arriving:
            pieces.append((time.perf_counter() - began, piece))
            size += len(piece)
            if size > MAX_BYTES or enough(pieces):
                return "left"
    return "closed"


# -- the two eras ----------------------------------------------------------------------------------------


def in_session(session_id: str, version: str, method: str, params: Any = None, id: Any = None) -> Call:
    """Build a message of a session."""
    message = {"jsonrpc": "2.0", "method": method, "id": id, "params": params}
    headers = {"Mcp-Session-Id": session_id, "MCP-Protocol-Version": version or SESSIONFUL} if session_id else {}
    return Call(headers=headers, message={name: value for name, value in message.items() if value is not None})


def alone(method: str, params: Any = None, *, progress: bool = False) -> Call:
    """Build a request of 2026-07-28."""
    meta: dict[str, Any] = {f"{_META}/protocolVersion": SESSIONLESS, f"{_META}/clientCapabilities": {}}
    if progress:
        meta["progressToken"] = "doctor"
    headers = {"MCP-Protocol-Version": SESSIONLESS, "Mcp-Method": method}
    if name := (params or {}).get("name"):
        headers["Mcp-Name"] = name
    params = {**(params or {}), "_meta": meta}
    return Call(headers=headers, message={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
