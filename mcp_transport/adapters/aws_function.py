"""The handler of a function on AWS Lambda, with buffered responses; `aws_lambda.lambda_handler` builds it.

A function's process, its sandbox, serves one event at a time and is frozen in between. So the endpoint and its
clients are made once, on one event loop that runs only while an event is handled, and nothing runs on after the
response: what a request writes behind is written, connections of its threads are closed, and the node has left the
others.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

from django.urls import set_script_prefix

from mcp_transport import health, prewarm, signals, well_known
from mcp_transport.adapters import aws_events
from mcp_transport.adapters.aws_events import Incoming
from mcp_transport.bootstrap import ERROR_REPLY
from mcp_transport.engine.codec import decode
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.freezing import end_calls, leave
from mcp_transport.engine.reply import error_reply
from mcp_transport.exceptions import BackendError, ClientDisconnected, ProtocolError
from mcp_transport.protocol.errors import INTERNAL_ERROR
from mcp_transport.protocol.http import HTTPRequest, Reply
from mcp_transport.protocol.idempotency import IDEMPOTENCY_KEY
from mcp_transport.threads import borrowed_threads

__all__ = ["LambdaHandler"]

logger = logging.getLogger(__name__)

_JSON: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))

# Of the time that is left, what is kept for the answer, and for what is written behind.
_RESERVED_SECONDS: Final = 1.0
_MAX_RESERVED_SHARE: Final = 0.2

# How long the start waits for the store, which each event tries again.
_CONNECT_SECONDS: Final = 2.0

# Connections to the store that were idle for longer may be broken: load balancers and NAT forget them after 350 s.
_IDLE_SECONDS: Final = 60.0

# How long the answer waits for what is written behind, which retries for minutes while the store does not answer.
_FINISH_SECONDS: Final = 5.0

# How long it waits for threads, of which one may run a function that its call has given up.
_THREAD_SECONDS: Final = 1.0

# How often is looked whether threads have closed their connections, which takes less than a millisecond.
_POLL_SECONDS: Final = 0.001

_OUT_OF_TIME: Final = "the time of the function ended"


class LambdaHandler:
    """Handles the events of a function, one after the other."""

    def __init__(
        self, endpoint: Endpoint | None, *, path: str = "/mcp", prefix: str = "", answer_within: float | None = None
    ) -> None:
        """Serve an endpoint at a path; None, for invalid settings, answers 500 to every request."""
        self._endpoint, self._path, self._prefix = endpoint, path.rstrip("/"), prefix
        self._answer_within = answer_within
        self._loop = asyncio.new_event_loop()
        self._last_event = time.time()
        self._keeps_answers = False
        if endpoint is not None:
            backend = endpoint.backend
            self._keeps_answers = backend.shares_streams and backend.streams.keeps_answers
            endpoint.pool.freezes = True
            for _ in endpoint.kernel.warm(endpoint.policy.versions):
                pass
            self._loop.run_until_complete(self._warm(endpoint))

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        """Answer the request of an event. Raises: ValueError, the event is none of an HTTP request."""
        incoming = aws_events.read(event, self._prefix)
        reply = self._loop.run_until_complete(self._handle(incoming, _remaining(context)))
        return aws_events.response(reply, incoming.door)

    def close(self) -> None:
        """Stop the node of the handler, and its loop; in a function, nothing calls it."""
        if self._endpoint is not None:
            self._loop.run_until_complete(self._endpoint.pool.stop(report=False))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _warm(self, endpoint: Endpoint) -> None:
        """Connect to the store, and call the functions of PREWARM.

        No node is started: its random name would be that of every process that is made from one snapshot.
        """
        await self._connect(endpoint)
        await prewarm.call_once()

    async def _handle(self, incoming: Incoming, remaining: float) -> Reply:
        end, threads = self._loop.time() + self._seconds(incoming, remaining), borrowed_threads()
        if self._endpoint is not None and abs(time.time() - self._last_event) > _IDLE_SECONDS:
            await self._connect(self._endpoint)
        try:
            return await self._reply(incoming, end)
        finally:
            await self._finish(end, threads)
            self._last_event = time.time()

    async def _connect(self, endpoint: Endpoint) -> None:
        """Connect to the store anew: connections may have been cut, and clocks stood still, while it was frozen."""
        with suppress(BackendError, TimeoutError):  # a request that needs the store says so
            async with asyncio.timeout(_CONNECT_SECONDS):
                await endpoint.backend.sessions.disconnect()
                await endpoint.backend.sessions.ping()
                await endpoint.backend.bus.last_broadcast()  # which may have a client of its own

    async def _finish(self, end: float, threads: int) -> None:
        """Finish what the request has left to do, as far as the time of the function allows it."""
        if self._endpoint is None:
            return
        left = end - self._loop.time()
        try:
            async with asyncio.timeout(min(_FINISH_SECONDS, left - _reserved(left) / 2)):
                if (node := self._endpoint.pool.running_node) is not None:
                    await leave(node)
                await signals.received()
            async with asyncio.timeout(min(_THREAD_SECONDS, end - self._loop.time())):
                # A thread of an earlier call that never ends is not waited for.
                while borrowed_threads() > threads:  # noqa: ASYNC110 (threads have no events of the loop)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            logger.warning("a function is frozen with work that did not end in its time")
        except BackendError as error:
            logger.warning("what a request has written behind may be lost: %s", error)
        except Exception:  # the response is known, and must be returned
            logger.exception("a request could not be finished")

    # -- one request ---------------------------------------------------------------------------------

    async def _reply(self, incoming: Incoming, end: float) -> Reply:
        if self._endpoint is None:
            return ERROR_REPLY
        request = incoming.request
        if request.path.rstrip("/") == self._path:
            return await self._serve(self._endpoint, incoming, end)
        if (report := await health.report(request.path)) is not None:
            status, body = report
            return Reply(status=status, headers=_JSON, body=json.dumps(body).encode())
        return well_known.metadata(request.method, request.path) or _unserved(request)

    async def _serve(self, endpoint: Endpoint, incoming: Incoming, end: float) -> Reply:
        """Answer a request to the endpoint, or say in time that no answer comes."""
        if incoming.prefix:
            set_script_prefix(incoming.prefix)  # for `reverse` in tools
        request = incoming.request
        request.peer = endpoint.client_address(request.peer, request.headers)
        reserved = _reserved(end - self._loop.time())
        timer = self._loop.call_at(end - reserved, _end_calls, endpoint)
        try:
            async with asyncio.timeout_at(end - reserved / 2):
                reply = await endpoint.handle(request, _chunks(incoming.body))
        except TimeoutError:
            problem = f"{_OUT_OF_TIME} before there was an answer; check the effects of the request before you retry"
            return _error(503, problem, incoming)
        except ClientDisconnected:
            return Reply(status=400)
        finally:
            timer.cancel()
        assert isinstance(reply, Reply), "without streaming there are no streams"  # noqa: S101
        if aws_events.is_too_large(reply, incoming.door):
            return _too_large(reply, incoming)
        return reply

    def _seconds(self, incoming: Incoming, remaining: float) -> float:
        """Return how long the answer to a request may take.

        A request with an Idempotency-Key runs on for as long as the function can, also when the front door has given
        up: its client can send it again, and then gets the answer from the store.
        """
        limit = incoming.door.seconds if self._answer_within is None else self._answer_within
        if limit is None or (self._keeps_answers and IDEMPOTENCY_KEY in incoming.request.headers):
            return remaining
        return min(limit, remaining)


def _remaining(context: Any) -> float:
    """Return the seconds that a function may still run; without a context, as in a test by hand, a day."""
    milliseconds = getattr(context, "get_remaining_time_in_millis", None)
    return milliseconds() / 1000 if milliseconds is not None else 86_400.0


def _reserved(seconds: float) -> float:
    return min(_RESERVED_SECONDS, max(0.0, seconds) * _MAX_RESERVED_SHARE)


def _end_calls(endpoint: Endpoint) -> None:
    if (node := endpoint.pool.running_node) is not None:
        end_calls(node, _OUT_OF_TIME)


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


# -- refusals ----------------------------------------------------------------------------------------


def _error(status: int, problem: str, incoming: Incoming) -> Reply:
    """Build an error with the id of the request, if it can be read."""
    value = None
    with suppress(ProtocolError):
        value = decode(incoming.body)
    return error_reply(ProtocolError(status, INTERNAL_ERROR, problem), value)


def _too_large(reply: Reply, incoming: Incoming) -> Reply:
    size, door = aws_events.encoded_size(reply.body), incoming.door
    logger.warning("a response of %d bytes is too large for a %s", size, door.name)
    problem = f"the call has ended, but its result has {size} bytes, and a {door.name} passes on {door.max_bytes}"
    return _error(200, problem, incoming)


def _unserved(request: HTTPRequest) -> Reply:
    detail = f"nothing is served at {request.path[:200]!r}"
    return Reply(status=404, headers=_JSON, body=json.dumps({"detail": detail}).encode())
