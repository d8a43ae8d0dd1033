"""The HTTP client that the SDK's transport gets: each request goes to an endpoint that works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

import httpx2
import orjson
from mcp_types import INTERNAL_ERROR, METHOD_NOT_FOUND

from mcp_transport.client.circuit_breaker import wait_after
from mcp_transport.client.delivery import Delivery, final_error
from mcp_transport.client.errors import ClientError, EndpointsUnavailable, ResultUnknown, error_of
from mcp_transport.client.requests import Outgoing, SDKRequest
from mcp_transport.client.sessions import SessionState, answer_in, keep_seconds, read_result
from mcp_transport.client.streams import EventStream, Position, is_stream

__all__ = ["FailoverHTTP"]

logger = logging.getLogger(__name__)


class FailoverHTTP(httpx2.AsyncClient):
    """Answers the requests of one transport of the SDK; what it sends goes through the HTTP client of the user."""

    def __init__(
        self, delivery: Delivery, session: SessionState, on_session_lost: Callable[[], Awaitable[None]]
    ) -> None:
        """Take what delivers requests, the session, and whom to tell that the server lost it."""
        super().__init__(transport=_NoTransport(), trust_env=False)
        self._delivery, self._session, self._on_session_lost = delivery, session, on_session_lost
        self._renewing = asyncio.Lock()
        self._url: httpx2.URL | None = None
        self._telling: asyncio.Task[None] | None = None
        self._in_flight: WeakValueDictionary[str | int, Outgoing] = WeakValueDictionary()
        self._cancellations: set[asyncio.Task[httpx2.Response]] = set()

    def build_request(self, method: str, url: httpx2.URL | str, **kwargs: Any) -> SDKRequest:
        """Build a request without the defaults of an HTTP client, which the user's adds."""
        self._url = self._url or httpx2.URL(url)  # it is always the same
        return SDKRequest(method, self._url, kwargs.get("headers") or {}, kwargs.get("json") or {})

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Send a request to an endpoint that works."""
        assert isinstance(request, SDKRequest)  # noqa: S101 (build_request is the only source of requests)
        outgoing = request.outgoing
        if outgoing.request_id is not None:
            self._in_flight[outgoing.request_id] = outgoing
        if outgoing.method == "notifications/cancelled":
            response = self._cancel(outgoing)
        else:
            response = self._session.local_answer(outgoing) or await self._answer(outgoing)
        response.request = request
        return response

    def _cancel(self, outgoing: Outgoing) -> httpx2.Response:
        """Stop the delivery of a request, and tell the server; other messages need not wait until that is done."""
        request_id = (outgoing.message.get("params") or {}).get("requestId", "")
        if (cancelled := self._in_flight.get(request_id)) is not None:
            cancelled.is_cancelled = True
        task = asyncio.create_task(self._answer(outgoing))
        self._cancellations.add(task)
        task.add_done_callback(self._cancellations.discard)
        return httpx2.Response(202)

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._cancellations and self._session.is_kept:  # else the end of the session has stopped all work in it
            await asyncio.wait(self._cancellations, timeout=self._delivery.limits.attempt_timeout)
        for task in (*self._cancellations, *filter(None, [self._telling])):
            task.cancel()
        await super().__aexit__(kind, error, traceback)

    async def _answer(self, outgoing: Outgoing) -> httpx2.Response:
        if outgoing.verb == "GET" and "last-event-id" not in outgoing.headers:
            return await self._listen(outgoing)
        try:
            response = await (self._in_session if outgoing.verb == "POST" else self._delivery.send)(outgoing)
        except ClientError as error:
            return _failure(outgoing, error)
        self._session.note(outgoing, response)
        if outgoing.request_id is None or not response.is_success or not is_stream(response):
            return response if response.status_code == 404 and self._session.id else _readable(outgoing, response)
        return self._stream(response, lambda position: self._rest(outgoing, position))

    def _stream(
        self,
        response: httpx2.Response,
        go_on: Callable[[Position], Awaitable[httpx2.Response | bytes | None]],
        position: Position | None = None,
    ) -> httpx2.Response:
        stream = EventStream(response, go_on, idle=self._delivery.limits.idle_timeout, position=position)
        headers = {"content-type": response.headers["content-type"]}
        if "mcp-session-id" in response.headers:
            headers["mcp-session-id"] = response.headers["mcp-session-id"]
        return httpx2.Response(response.status_code, headers=headers, stream=stream)

    async def _in_session(self, outgoing: Outgoing) -> httpx2.Response:
        """Send a request, and again in a new session if the server does not know its session. Raises: ClientError."""
        session_id = self._session.id
        response = await self._delivery.send(outgoing)
        if response.status_code != 404 or not session_id or outgoing.method == "initialize":
            return response
        telling = await self._renew(session_id)
        if telling is not None and outgoing.request_id is not None:  # the callback may send what follows this
            await asyncio.wait({telling})
        if outgoing.may_have_run and not await self._delivery.may_run_twice(outgoing):  # a key is of one session
            raise ResultUnknown("the session was lost with the answer, and the request may have run", retryable=False)
        return await self._delivery.send(outgoing)

    async def _renew(self, lost: str) -> asyncio.Task[None] | None:
        """Begin a new session in the place of a lost one, once for all requests that find it lost.

        Returns:
            The call of `on_session_lost`, if this has started it.

        Raises:
            ClientError: no endpoint begins one.
        """
        async with self._renewing:
            if self._session.id != lost:
                return None
            first, second = self._session.opening()
            response = await self._delivery.send(first)
            result = await read_result(response, self._delivery.limits.deadline)
            if result is None:
                raise EndpointsUnavailable("the session is lost, and the server begins no new one", retryable=True)
            self._session.note(first, response)
            self._delivery.keep_seconds = keep_seconds(result)
            await self._delivery.send(second)
            logger.warning("the server lost the session: a new one was begun, without what the old one held")
            if self._telling is not None:
                return None  # the callback has lost the session again
            self._telling = asyncio.create_task(self._tell())
            return self._telling

    async def _tell(self) -> None:
        try:
            await self._on_session_lost()
        except Exception:
            logger.exception("on_session_lost failed")
        finally:
            self._telling = None

    # -- streams ---------------------------------------------------------------------------------------

    async def _rest(self, outgoing: Outgoing, position: Position) -> httpx2.Response | bytes | None:
        """Return the rest of the stream of a request whose connection broke."""
        outgoing.may_have_run, outgoing.not_ended_at = True, position.heard_at
        await position.pause()
        if outgoing.is_cancelled:
            return None
        can_resume = position.last_event_id and not position.is_lost
        try:
            response = await self._resume(outgoing, position) if can_resume else None
            if response is None:
                response = await self._repeat(outgoing, position)
        except ClientError as error:
            return _frame(outgoing, error_of(error))
        return response if is_stream(response) else _as_event(outgoing, response)

    async def _resume(self, outgoing: Outgoing, position: Position) -> httpx2.Response | None:
        """Ask for what follows an event; return None where nothing does, or nobody knows it. Raises: ClientError."""
        response = await self._delivery.send(outgoing.resumption(position.last_event_id))
        if response.is_success and is_stream(response):
            return response
        await response.aclose()
        return None

    async def _repeat(self, outgoing: Outgoing, position: Position) -> httpx2.Response:
        """Send a request again whose stream cannot be resumed, or whose node died. Raises: ClientError."""
        if position.is_lost:
            outgoing.is_idempotent = True  # the server says that it is safe to send again
            outgoing.headers.pop("idempotency-key", None)  # it keeps the loss as its answer
        elif not await self._delivery.may_repeat(outgoing):
            raise ResultUnknown("the stream broke, and the request may have run", retryable=False)
        elif position.paused > self._delivery.limits.deadline:
            raise final_error(outgoing, f"the stream broke {position.breaks} times, and brought no answer")
        return await self._in_session(outgoing)

    async def _listen(self, outgoing: Outgoing) -> httpx2.Response:
        """Open the stream that is no call's, as long as the session lives, wherever it may be had."""
        response = await self._open(outgoing)
        if not response.is_success or not is_stream(response):
            return response

        async def go_on(position: Position) -> httpx2.Response | None:
            await position.pause()
            if position is not self._session.position:
                return None  # it was that of a session which is lost; the SDK opens the new one's
            following = await self._open(outgoing)
            return following if following.is_success and is_stream(following) else None

        return self._stream(response, go_on, position=self._session.position)

    async def _open(self, outgoing: Outgoing) -> httpx2.Response:
        failures = 0
        while True:
            session_id, position = self._session.id, self._session.position
            last = position.last_event_id
            try:
                response = await self._delivery.send(outgoing.resumption(last) if last else outgoing)
                if response.status_code == 404 and session_id:
                    # Is it the session that is not there, or the stream? The answer to a POST tells.
                    await self._in_session(self._session.ping(outgoing))
                    if self._session.id == session_id:
                        return response
                elif response.status_code == 400 and last:
                    position.last_event_id = ""  # nobody knows that event any more
                else:
                    return response
            except ClientError as error:
                logger.info("the stream of the session is not open: %s", error)
                await asyncio.sleep(wait_after(failures))
                failures += 1


class _NoTransport(httpx2.AsyncBaseTransport):
    """Everything goes through the HTTP client of the user."""


def _failure(outgoing: Outgoing, error: ClientError) -> httpx2.Response:
    if outgoing.request_id is None:
        what = outgoing.method or ("a reply" if outgoing.verb == "POST" else f"{outgoing.verb} of the session")
        logger.warning("%s was not delivered: %s", what, error)
        return httpx2.Response(503)
    return httpx2.Response(200, json=_body(outgoing, error_of(error)))


def _body(outgoing: Outgoing, error: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": outgoing.request_id, "error": error}


def _readable(outgoing: Outgoing, response: httpx2.Response) -> httpx2.Response:
    """Name the status of a refusal, for which the SDK has one text: "Server returned an error response"."""
    if outgoing.request_id is None or response.status_code < 400 or answer_in(response.content) is not None:
        return response
    text = f"the server answered HTTP {response.status_code} {response.reason_phrase}".strip()
    code = METHOD_NOT_FOUND if response.status_code == 404 else INTERNAL_ERROR  # as the SDK reads the statuses
    return httpx2.Response(response.status_code, json=_body(outgoing, {"code": code, "message": text}))


def _frame(outgoing: Outgoing, error: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(_body(outgoing, error)) + b"\n\n"


def _as_event(outgoing: Outgoing, response: httpx2.Response) -> bytes:
    """Write an answer that is no stream as the last event of one."""
    if answer_in(response.content) is None:
        status = f"HTTP {response.status_code} {response.reason_phrase}".strip()
        message = f"the server answered {status}, and nothing of JSON-RPC, when its stream had broken"
        return _frame(outgoing, {"code": INTERNAL_ERROR, "message": message})
    # Verbatim, since numbers may be larger than here; JSON has line ends between tokens only.
    return b"data: " + response.content.translate(bytes.maketrans(b"\r\n", b"  ")) + b"\n\n"
