"""The HTTP client for the SDK's transport: it sends each request to a working endpoint."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

import httpx2
import orjson
from mcp_types import INTERNAL_ERROR, METHOD_NOT_FOUND

from mcp_transport.client.circuit_breaker import backoff
from mcp_transport.client.delivery import Delivery, final_error
from mcp_transport.client.errors import ClientError, EndpointsUnavailable, ResultUnknown, to_jsonrpc_error
from mcp_transport.client.requests import Outgoing, SDKRequest
from mcp_transport.client.sessions import SessionState, parse_response, read_result
from mcp_transport.client.streams import EventStream, Position, is_stream, region_of

__all__ = ["FailoverHTTP"]

logger = logging.getLogger(__name__)


class FailoverHTTP(httpx2.AsyncClient):
    """Handles the requests of one SDK transport, and sends them through the user's HTTP client."""

    def __init__(
        self,
        delivery: Delivery,
        session: SessionState,
        on_lost: Callable[[], Awaitable[None]],
        on_region_changed: Callable[[str], Awaitable[None]],
    ) -> None:
        """Take the delivery, the session, and the callbacks for a lost session and another region."""
        # A transport that raises: all requests go through the user's HTTP client.
        super().__init__(transport=httpx2.AsyncBaseTransport(), trust_env=False)
        self._delivery, self._session, self._on_session_lost = delivery, session, on_lost
        self._on_region_changed = on_region_changed
        self._renewal_lock = asyncio.Lock()
        self._url: httpx2.URL | None = None
        self._callback_task: asyncio.Task[None] | None = None
        self._in_flight: WeakValueDictionary[str | int, Outgoing] = WeakValueDictionary()
        self._cancellations: set[asyncio.Task[httpx2.Response]] = set()
        self._callbacks: set[asyncio.Task[None]] = set()
        self._listening: EventStream | None = None
        delivery.regions.on_change = self._region_changed

    def build_request(self, method: str, url: httpx2.URL | str, **kwargs: Any) -> SDKRequest:
        """Build a request without an HTTP client's defaults: the user's client adds its own."""
        self._url = self._url or httpx2.URL(url)  # the transport always passes the same one
        return SDKRequest(method, self._url, kwargs.get("headers") or {}, kwargs.get("json") or {})

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Send a request to a working endpoint."""
        assert isinstance(request, SDKRequest)  # noqa: S101 (build_request is the only source of requests)
        outgoing = request.outgoing
        if outgoing.request_id is not None:
            self._in_flight[outgoing.request_id] = outgoing
        elif not outgoing.method:
            outgoing.region = self._session.server_request_regions.get(outgoing.message.get("id", ""), "")
        if outgoing.method == "notifications/cancelled":
            response = self._cancel(outgoing)
        else:
            response = self._session.local_response(outgoing) or await self._deliver(outgoing)
        response.request = request
        return response

    def _cancel(self, outgoing: Outgoing) -> httpx2.Response:
        """Stop the delivery of a request and notify the server in the background."""
        request_id = (outgoing.message.get("params") or {}).get("requestId", "")
        if (cancelled := self._in_flight.get(request_id)) is not None:
            cancelled.is_cancelled = True
            outgoing.region = cancelled.region
        task = asyncio.create_task(self._deliver(outgoing))
        self._cancellations.add(task)
        task.add_done_callback(self._cancellations.discard)
        return httpx2.Response(202)

    async def __aexit__(self, *details: Any) -> None:
        if self._cancellations and self._session.is_saved:  # otherwise DELETE has ended its calls
            await asyncio.wait(self._cancellations, timeout=self._delivery.limits.attempt_timeout)
        self._delivery.regions.close()
        for task in (*self._cancellations, *self._callbacks, *filter(None, [self._callback_task])):
            task.cancel()
        await super().__aexit__(*details)

    async def _deliver(self, outgoing: Outgoing) -> httpx2.Response:
        if outgoing.verb == "GET" and "last-event-id" not in outgoing.headers:
            return await self._listen(outgoing)
        try:
            response = await (self._send_in_session if outgoing.verb == "POST" else self._delivery.send)(outgoing)
        except ClientError as error:
            return _failure(outgoing, error)
        self._session.record(outgoing, response)
        if outgoing.request_id is None or not response.is_success or not is_stream(response):
            is_lost = response.status_code == 404 and self._session.id
            return response if is_lost else _with_status_text(outgoing, response)
        return self._stream(response, lambda position: self._continue_stream(outgoing, position))

    def _stream(
        self,
        response: httpx2.Response,
        resume: Callable[[Position], Awaitable[httpx2.Response | bytes | None]],
        position: Position | None = None,
    ) -> httpx2.Response:
        limits = self._delivery.limits
        max_wait = limits.deadline if position is None else 0.0
        stream = EventStream(response, resume, idle=limits.idle_timeout, max_wait=max_wait, position=position)
        stream.position.on_server_request = self._session.record_server_request
        if position is not None:
            self._listening = stream
        names = ("content-type", "mcp-session-id")
        headers = {name: response.headers[name] for name in names if name in response.headers}
        return httpx2.Response(response.status_code, headers=headers, stream=stream)

    def _region_changed(self, region: str) -> None:
        """Open the session's GET stream where new requests go, and report the region."""
        stream = self._listening
        if stream is not None and stream.position is self._session.position and stream.position.region != region:
            stream.reopen()
        task = asyncio.create_task(self._run_region_callback(region))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def _run_region_callback(self, region: str) -> None:
        try:
            await self._on_region_changed(region)
        except Exception:
            logger.exception("on_region_changed failed")

    async def _send_in_session(self, outgoing: Outgoing) -> httpx2.Response:
        """Send a request, and again in a new session if no region has its session. Raises: ClientError."""
        session_id = self._session.id
        response = await self._delivery.send(outgoing)
        if response.status_code != 404 or not session_id or outgoing.method == "initialize":
            return response
        if self._session.id == session_id and await self._delivery.finds_session(outgoing, response):
            outgoing.region = ""
            response = await self._delivery.send(outgoing)
            if response.status_code != 404:
                return response
        callback = await self._renew(session_id)
        if callback is not None and outgoing.request_id is not None:  # its requests must precede this one
            await asyncio.wait({callback})
        # Not may_repeat: an idempotency key is only valid in its session.
        if outgoing.may_have_run and not await self._delivery.may_run_twice(outgoing):
            raise ResultUnknown("session and response were lost, and the request may have run", retryable=False)
        outgoing.region = ""
        return await self._delivery.send(outgoing)

    async def _renew(self, lost: str) -> asyncio.Task[None] | None:
        """Open a new session in place of a lost one, once for all requests that lost it.

        Returns:
            The running `on_session_lost` callback, if this call started it.

        Raises:
            ClientError: no endpoint opens a session.
        """
        async with self._renewal_lock:
            if self._session.id != lost:
                return None
            first, second = self._session.initialize_requests()
            response = await self._delivery.send(first)
            result = await read_result(response, self._delivery.limits.deadline)
            if result is None:
                raise EndpointsUnavailable("the session is lost, and the server opens no new one", retryable=True)
            self._session.record(first, response)
            self._delivery.renewed(result)
            await self._delivery.send(second)
            logger.warning("the server lost the session: a new one was opened, without the state of the old one")
            if self._callback_task is not None:
                return None  # the callback itself lost the session again
            self._callback_task = asyncio.create_task(self._run_session_lost_callback())
            return self._callback_task

    async def _run_session_lost_callback(self) -> None:
        try:
            await self._on_session_lost()
        except Exception:
            logger.exception("on_session_lost failed")
        finally:
            self._callback_task = None

    # -- streams ---------------------------------------------------------------------------------------

    async def _continue_stream(self, outgoing: Outgoing, position: Position) -> httpx2.Response | bytes | None:
        """Resume or repeat a request whose stream broke; return the continuation, or None if it was cancelled."""
        refusal, position.refusal = position.refusal, None
        outgoing.may_have_run, outgoing.unfinished_at = refusal is None, position.last_byte_at
        await (position.pause() if refusal is None else position.wait_after(refusal))
        if outgoing.is_cancelled:
            return None
        can_resume = position.last_event_id and not position.is_lost
        try:
            response = await self._resume(outgoing, position) if can_resume else None
            if refusal is not None:
                outgoing.headers.pop("idempotency-key", None)  # the stored response is the refusal
                response = await self._send_in_session(outgoing)
            elif response is None:
                response = await self._repeat(outgoing, position)
        except ClientError as error:
            return _frame(outgoing, to_jsonrpc_error(error))
        return response if is_stream(response) else _as_event(outgoing, response)

    async def _resume(self, outgoing: Outgoing, position: Position) -> httpx2.Response | None:
        """Resume the stream after its last event; return None if the server cannot. Raises: ClientError."""
        response = await self._delivery.send(outgoing.resumption(position.last_event_id))
        if response.is_success and is_stream(response):
            outgoing.region = region_of(response)
            return response
        await response.aclose()
        return None

    async def _repeat(self, outgoing: Outgoing, position: Position) -> httpx2.Response:
        """Repeat a request whose stream cannot be resumed, or whose node died. Raises: ClientError."""
        if position.is_lost:
            outgoing.is_idempotent = True  # the server declared it safe to retry
            outgoing.headers.pop("idempotency-key", None)  # the stored response is the loss
        elif not await self._delivery.may_repeat(outgoing):
            raise ResultUnknown("the stream broke, and the request may have run", retryable=False)
        elif position.paused > self._delivery.limits.deadline:
            raise final_error(outgoing, f"the stream broke {position.interruptions} times without a response")
        return await self._send_in_session(outgoing)

    async def _listen(self, outgoing: Outgoing) -> httpx2.Response:
        """Open the session's GET stream, and reopen it at any endpoint for as long as the session lives."""
        response = await self._open(outgoing)
        if not response.is_success or not is_stream(response):
            return response

        async def resume(position: Position) -> httpx2.Response | None:
            await position.pause()
            if position is not self._session.position:
                return None  # the session was replaced; the SDK opens the new one's stream
            reopened = await self._open(outgoing)
            return reopened if reopened.is_success and is_stream(reopened) else None

        return self._stream(response, resume, position=self._session.position)

    async def _open(self, outgoing: Outgoing) -> httpx2.Response:
        failures = 0
        while True:
            session_id, position = self._session.id, self._session.position
            last = position.last_event_id
            try:
                response = await self._delivery.send(outgoing.resumption(last) if last else outgoing)
                if response.status_code == 404 and session_id:
                    # Is the session unknown, or only the stream? A POST finds out.
                    await self._send_in_session(self._session.ping(outgoing))
                    if self._session.id == session_id and not self._delivery.has_moved_from(region_of(response)):
                        return response
                elif response.status_code == 400 and last:
                    position.last_event_id = ""  # the event is not stored there, or no longer
                else:
                    return response
            except ClientError as error:
                logger.info("cannot open the GET stream of the session: %s", error)
                await asyncio.sleep(backoff(failures))
                failures += 1


def _failure(outgoing: Outgoing, error: ClientError) -> httpx2.Response:
    if outgoing.request_id is None:
        description = outgoing.method or ("a reply" if outgoing.verb == "POST" else f"{outgoing.verb} of the session")
        logger.warning("%s was not delivered: %s", description, error)
        return httpx2.Response(503)
    return httpx2.Response(200, json=_body(outgoing, to_jsonrpc_error(error)))


def _body(outgoing: Outgoing, error: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": outgoing.request_id, "error": error}


def _with_status_text(outgoing: Outgoing, response: httpx2.Response) -> httpx2.Response:
    """Put the HTTP status into an error: the SDK's text is always "Server returned an error response"."""
    if outgoing.request_id is None or response.status_code < 400 or parse_response(response.content) is not None:
        return response
    text = f"the server answered HTTP {response.status_code} {response.reason_phrase}".strip()
    code = METHOD_NOT_FOUND if response.status_code == 404 else INTERNAL_ERROR  # as the SDK maps statuses
    return httpx2.Response(response.status_code, json=_body(outgoing, {"code": code, "message": text}))


def _frame(outgoing: Outgoing, error: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(_body(outgoing, error)) + b"\n\n"


def _as_event(outgoing: Outgoing, response: httpx2.Response) -> bytes:
    """Write a JSON response as the last event of a stream."""
    if parse_response(response.content) is None:
        status = f"HTTP {response.status_code} {response.reason_phrase}".strip()
        message = f"the stream broke, and the server answered {status} without a JSON-RPC message to its retry"
        return _frame(outgoing, {"code": INTERNAL_ERROR, "message": message})
    # Verbatim, because numbers may exceed 64 bits; JSON has line breaks only between tokens.
    return b"data: " + response.content.translate(bytes.maketrans(b"\r\n", b"  ")) + b"\n\n"
