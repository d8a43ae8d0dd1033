"""The HTTP client that the SDK's transport gets: each request goes to an endpoint that works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final

import httpx2
import orjson
from mcp_types import INTERNAL_ERROR

from mcp_transport.client.delivery import Delivery
from mcp_transport.client.errors import ClientError, EndpointsUnavailable, ResultUnknown, error_of
from mcp_transport.client.messages import Outgoing, read_message
from mcp_transport.client.sessions import SessionState, keeps_answers, read_result
from mcp_transport.client.streams import EventStream, Position, is_stream

__all__ = ["FailoverHTTP"]

logger = logging.getLogger(__name__)

# Of a request whose stream breaks again and again, and cannot be resumed.
_MOST_REPEATS: Final = 5
# Seconds between two attempts to open the stream of a session.
_MOST_SECONDS_APART: Final = 30


class FailoverHTTP(httpx2.AsyncClient):
    """Answers the requests of one transport of the SDK; what it sends goes through the HTTP client of the user."""

    def __init__(
        self, delivery: Delivery, session: SessionState, on_session_lost: Callable[[], Awaitable[None]]
    ) -> None:
        """Take what delivers requests, the session, and whom to tell that the server lost it."""
        super().__init__(transport=_NoTransport(), trust_env=False)
        self._delivery, self._session, self._on_session_lost = delivery, session, on_session_lost
        self._renewing = asyncio.Lock()

    def build_request(self, method: str, url: httpx2.URL | str, **kwargs: Any) -> httpx2.Request:
        """Build a request without the defaults of an HTTP client, which the user's adds."""
        return httpx2.Request(method, url, **kwargs)

    async def send(self, request: httpx2.Request, **_: Any) -> httpx2.Response:
        """Send a request to an endpoint that works."""
        outgoing = read_message(request)
        response = self._session.local_answer(outgoing) or await self._answer(outgoing)
        response.request = request
        return response

    async def _answer(self, outgoing: Outgoing) -> httpx2.Response:
        if outgoing.verb == "GET" and "last-event-id" not in outgoing.headers:
            return await self._listen(outgoing)
        try:
            response = await (self._in_session if outgoing.verb == "POST" else self._delivery.send)(outgoing)
        except ClientError as error:
            return _failure(outgoing, error)
        self._session.note(outgoing, response)
        if outgoing.request_id is None or not response.is_success or not is_stream(response):
            return _readable(outgoing, response)
        return self._stream(response, lambda position: self._rest(outgoing, position))

    def _stream(
        self,
        response: httpx2.Response,
        go_on: Callable[[Position], Awaitable[httpx2.Response | bytes | None]],
        *,
        has_answer: bool = True,
    ) -> httpx2.Response:
        stream = EventStream(response, go_on, idle=self._delivery.limits.idle_timeout, has_answer=has_answer)
        left_out = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in left_out]
        return httpx2.Response(response.status_code, headers=headers, stream=stream)

    async def _in_session(self, outgoing: Outgoing) -> httpx2.Response:
        """Send a request, and again in a new session if the server does not know its session. Raises: ClientError."""
        session_id = self._session.id
        response = await self._delivery.send(outgoing)
        if response.status_code != 404 or not session_id or outgoing.method == "initialize":
            return response
        await response.aclose()
        await self._renew(session_id)
        if outgoing.may_have_run and not await self._delivery.may_repeat(outgoing):
            raise ResultUnknown("the session was lost with the answer, and the request may have run", retryable=False)
        return await self._delivery.send(outgoing)

    async def _renew(self, lost: str) -> None:
        """Begin a new session in the place of a lost one, once for all requests that find it lost.

        Raises:
            ClientError: no endpoint begins one.
        """
        async with self._renewing:
            if self._session.id != lost:
                return
            first, second = self._session.opening()
            response = await self._delivery.send(first)
            result = await read_result(response)
            if result is None:
                raise EndpointsUnavailable("the session is lost, and the server begins no new one", retryable=True)
            self._session.note(first, response)
            self._delivery.keeps_answers = keeps_answers(result)
            await (await self._delivery.send(second)).aclose()
            logger.warning("the server lost the session: a new one was begun, without what the old one held")
        await self._on_session_lost()

    # -- streams ---------------------------------------------------------------------------------------

    async def _rest(self, outgoing: Outgoing, position: Position) -> httpx2.Response | bytes | None:
        """Return the rest of the stream of a request whose connection broke."""
        can_resume = position.last_event_id and not position.is_lost
        try:
            response = await self._resume(outgoing, position) if can_resume else None
            if response is None:
                response = await self._repeat(outgoing, position)
        except ClientError as error:
            return _frame(outgoing, error)
        if response.status_code == 204:
            return None
        return response if is_stream(response) else _as_event(outgoing, await response.aread())

    async def _resume(self, outgoing: Outgoing, position: Position) -> httpx2.Response | None:
        """Ask for what follows an event; return None where nobody knows the event. Raises: ClientError."""
        await asyncio.sleep(position.pause())
        response = await self._delivery.send(outgoing.resumption(position.last_event_id))
        if response.status_code == 204 or (response.is_success and is_stream(response)):
            return response
        await response.aclose()
        return None

    async def _repeat(self, outgoing: Outgoing, position: Position) -> httpx2.Response:
        """Send a request again whose stream cannot be resumed, or whose node died. Raises: ClientError."""
        position.repeats += 1
        if position.repeats > _MOST_REPEATS:
            broke = f"the stream of the answer broke {position.repeats} times"
            raise EndpointsUnavailable(broke, retryable=True, endpoints=self._delivery.errors())
        if not position.is_lost:
            self._delivery.stream_broke("the stream of an answer broke")
        await asyncio.sleep(position.pause())
        if position.is_lost:
            outgoing.headers.pop("idempotency-key", None)  # the server keeps the loss as its answer
        elif not await self._delivery.may_repeat(outgoing):
            raise ResultUnknown("the stream broke, and the request may have run", retryable=False)
        return await self._in_session(outgoing)

    async def _listen(self, outgoing: Outgoing) -> httpx2.Response:
        """Open the stream that is no call's, as long as the client lives, wherever it may be had."""
        response = await self._open(outgoing)
        if not response.is_success or not is_stream(response):
            return response

        async def go_on(position: Position) -> httpx2.Response | None:
            self._session.last_event_id = position.last_event_id
            await asyncio.sleep(position.pause())
            following = await self._open(outgoing)
            return following if following.is_success and is_stream(following) else None

        return self._stream(response, go_on, has_answer=False)

    async def _open(self, outgoing: Outgoing) -> httpx2.Response:
        for failures in count():
            await asyncio.sleep(min(failures, _MOST_SECONDS_APART))
            last = self._session.last_event_id
            lost = self._session.id
            try:
                response = await self._delivery.send(outgoing.resumption(last) if last else outgoing)
                if response.status_code == 404 and lost:
                    await response.aclose()
                    await self._renew(lost)
                elif response.status_code == 400 and last:
                    await response.aclose()
                    self._session.last_event_id = ""  # nobody knows that event any more
                else:
                    return response
            except ClientError as error:
                logger.info("the stream of the session is not open: %s", error)
        raise AssertionError("it counts for ever")


class _NoTransport(httpx2.AsyncBaseTransport):
    """Everything goes through the HTTP client of the user."""


def _failure(outgoing: Outgoing, error: ClientError) -> httpx2.Response:
    if outgoing.request_id is None:
        what = outgoing.method or ("a reply" if outgoing.verb == "POST" else f"{outgoing.verb} of the session")
        logger.warning("%s was not delivered: %s", what, error)
        return httpx2.Response(503)
    return httpx2.Response(200, json=_body(outgoing, error))


def _body(outgoing: Outgoing, error: ClientError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": outgoing.request_id, "error": error_of(error)}


def _readable(outgoing: Outgoing, response: httpx2.Response) -> httpx2.Response:
    """Name the status of a refusal, for which the SDK has one text: "Server returned an error response".

    404 means to it that there is no such method.
    """
    is_json = response.headers.get("content-type", "").lower().startswith("application/json")
    if outgoing.request_id is None or response.status_code < 400 or response.status_code == 404 or is_json:
        return response
    text = f"the server answered HTTP {response.status_code} {response.reason_phrase}".strip()
    error = {"code": INTERNAL_ERROR, "message": text}
    return httpx2.Response(response.status_code, json={"jsonrpc": "2.0", "id": outgoing.request_id, "error": error})


def _frame(outgoing: Outgoing, error: ClientError) -> bytes:
    return b"event: message\ndata: " + orjson.dumps(_body(outgoing, error)) + b"\n\n"


def _as_event(outgoing: Outgoing, body: bytes) -> bytes:
    """Write an answer in JSON as the last event of a stream."""
    return b"event: message\ndata: " + orjson.dumps(orjson.loads(body)) + b"\n\n"
