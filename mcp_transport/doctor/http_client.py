"""An HTTP client that records when each part of a response arrives; each request opens a connection of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx2

from mcp_transport.doctor.connection_faults import Fault, fault_of
from mcp_transport.doctor.observations import SESSIONFUL, SESSIONLESS, DoctorOptions, Response, StreamObservation

__all__ = ["EVENT_STREAM", "EndpointClient", "Request", "in_session", "sessionless"]

TIMEOUT_SECONDS: Final = 15.0
MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
_JSON_OR_EVENTS: Final = "application/json, text/event-stream"
EVENT_STREAM: Final = "text/event-stream"
_META: Final = "io.modelcontextprotocol"
_Chunks = list[tuple[float, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; `path` replaces the endpoint's path."""

    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    message: Any = None
    path: str = ""
    sends_token: bool = True

    def adding(self, **headers: str) -> Request:
        """Return the request with more headers; an underscore in a name stands for a hyphen."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **added})


class EndpointClient:
    """Sends requests to one endpoint; ignores proxies of the environment and follows no redirect."""

    def __init__(self, options: DoctorOptions) -> None:
        self._options = options
        self._ssl_context = httpx2.create_ssl_context(verify=not options.insecure)

    def http_client(self) -> httpx2.AsyncClient:
        """Return an HTTP client with a new connection pool."""
        return httpx2.AsyncClient(verify=self._ssl_context, timeout=None, trust_env=False)

    async def send(self, request: Request, client: httpx2.AsyncClient | None = None) -> Response:
        """Send a request, over a new connection unless `client` is given, and return the whole response."""
        stream = await self.listen(request, TIMEOUT_SECONDS, client=client)
        response = stream.response
        end = "" if stream.end == "closed" else stream.end or f"no end within {TIMEOUT_SECONDS:g} s"
        body = b"".join(chunk for _, chunk in stream.chunks)
        return replace(response, body=body, failure=response.failure or end)

    async def listen(
        self,
        request: Request,
        seconds: float,
        *,
        until: Callable[[_Chunks], bool] = lambda _: False,
        client: httpx2.AsyncClient | None = None,
    ) -> StreamObservation:
        """Send a request and record when each chunk of the response arrives.

        Stops after `seconds`, or when `until` says so.
        """
        started_at, chunks, end = time.perf_counter(), _Chunks(), ""
        response = Response(failure=f"no answer within {seconds:g} s", fault=Fault.TIMEOUT)
        try:
            async with asyncio.timeout(seconds), AsyncExitStack() as stack:
                http = client if client is not None else await stack.enter_async_context(self.http_client())
                raw = await stack.enter_async_context(http.stream(**self._request(request)))
                response = _head(raw, time.perf_counter() - started_at)
                end = await _read(raw, chunks, started_at, until)
        except TimeoutError:
            pass
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            end = type(error).__name__
            if not response.status:
                response = Response(failure=f"{end}: {error}".removesuffix(": "), fault=fault_of(error))
        return StreamObservation(response, tuple(chunks), time.perf_counter() - started_at, end)

    def _request(self, request: Request) -> dict[str, Any]:
        headers = {"User-Agent": "mcp_doctor", "Accept-Encoding": "identity", "Accept": _JSON_OR_EVENTS}
        headers |= request.headers
        if self._options.token and request.sends_token:
            headers["Authorization"] = f"Bearer {self._options.token}"
        url = httpx2.URL(self._options.url)
        if request.path:
            url = url.copy_with(raw_path=request.path.encode())
        content = None
        if request.message is not None:
            content, headers["Content-Type"] = json.dumps(request.message).encode(), "application/json"
        return {"method": request.method, "url": url, "headers": headers, "content": content}


def _head(raw: httpx2.Response, seconds: float) -> Response:
    stream = raw.extensions.get("network_stream")
    local_address = str(stream.get_extra_info("client_addr")) if stream is not None else ""
    return Response(
        status=raw.status_code,
        http=raw.http_version,
        headers={name.lower(): value for name, value in raw.headers.items()},
        seconds=seconds,
        received_at=time.time(),
        local_address=local_address,
    )


async def _read(raw: httpx2.Response, chunks: _Chunks, started_at: float, until: Callable[[_Chunks], bool]) -> str:
    size = 0
    async with aclosing(raw.aiter_raw()) as arriving:
        async for chunk in arriving:
            chunks.append((time.perf_counter() - started_at, chunk))
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES or until(chunks):
                return "left"
    return "closed"


# -- session-based and sessionless messages --------------------------------------------------------------


def in_session(session_id: str, version: str, method: str, params: Any = None, id: Any = None) -> Request:
    """Build a message of a session; without `session_id` that is `initialize`."""
    message = {"jsonrpc": "2.0", "method": method, "id": id, "params": params}
    headers = {"Mcp-Session-Id": session_id, "MCP-Protocol-Version": version or SESSIONFUL} if session_id else {}
    return Request(headers=headers, message={name: value for name, value in message.items() if value is not None})


def sessionless(method: str, params: Any = None, *, progress: bool = False) -> Request:
    """Build a request of 2026-07-28."""
    meta: dict[str, Any] = {f"{_META}/protocolVersion": SESSIONLESS, f"{_META}/clientCapabilities": {}}
    if progress:
        meta["progressToken"] = "doctor"
    headers = {"MCP-Protocol-Version": SESSIONLESS, "Mcp-Method": method}
    if name := (params or {}).get("name"):
        headers["Mcp-Name"] = name
    params = {**(params or {}), "_meta": meta}
    return Request(headers=headers, message={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
