"""The endpoint as a function of AWS Lambda: `handler = lambda_handler("project.settings")`, with buffered responses.

A function's process, its sandbox, serves one event at a time and is frozen in between. So the endpoint and its
clients are made once, on one event loop that runs only while an event is handled, and nothing runs on after the
response: what a request writes behind is written, connections of its threads are closed, and the node has left the
others.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

from mcp_transport.adapters import aws_events
from mcp_transport.adapters.aws_events import FrontDoor, Incoming
from mcp_transport.engine.codec import decode
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.reply import error_reply
from mcp_transport.exceptions import BackendError, ClientDisconnected, ProtocolError
from mcp_transport.protocol.errors import INTERNAL_ERROR
from mcp_transport.protocol.http import HTTPRequest, Reply
from mcp_transport.protocol.idempotency import IDEMPOTENCY_KEY

__all__ = ["LambdaHandler", "lambda_handler"]

logger = logging.getLogger(__name__)

_JSON: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))

# Of the time that is left, what is kept for the answer, and for what is written behind.
_RESERVED_SECONDS: Final = 1.0
_MAX_RESERVED_SHARE: Final = 0.2

# Connections to the store that were idle for longer may be broken: load balancers and NAT forget them after 350 s.
_IDLE_SECONDS: Final = 60.0

# How often is looked whether threads have closed their connections, which takes less than a millisecond.
_POLL_SECONDS: Final = 0.001

_OUT_OF_TIME: Final = "the time of the function ended"


def lambda_handler(
    settings_module: str | None = None,
    *,
    path: str = "/mcp",
    prefix: str = "",
    answer_within: float | None = None,
) -> LambdaHandler:
    """Set up Django, unless that was done, and return the handler of a function; call it once, in the module.

    `settings_module` is the default of DJANGO_SETTINGS_MODULE. `prefix` is the part before `path`, besides a stage,
    of a custom domain's mapping or a load balancer's rule. After `answer_within` seconds a call ends with an error;
    the default is what the front door waits, 29 s for a REST API and 30 s for an HTTP API, and in any case the time
    that the function has.
    """
    was_enabled = gc.isenabled()
    gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of a cold start
    try:
        handler = LambdaHandler(_set_up(settings_module), path=path, prefix=prefix, answer_within=answer_within)
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
    return handler


def _set_up(settings_module: str | None) -> Endpoint | None:
    """Set up Django and build the endpoint; return None if the settings are invalid."""
    if settings_module is not None:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module)
    import django
    from django.apps import apps

    if not apps.ready:
        django.setup()
    from mcp_transport.bootstrap import Misconfigured, endpoint
    from mcp_transport.process import startup

    startup.skip()  # the warm-up of a server runs in the background, and there is none here
    try:
        served = endpoint()
    except Misconfigured:  # which was logged
        return None
    for _ in served.kernel.warm(served.policy.versions):
        pass
    return served


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
        if endpoint is not None:
            endpoint.pool.freezes = True
            from mcp_transport.prewarm import call_once

            self._loop.run_until_complete(call_once())

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

    async def _handle(self, incoming: Incoming, remaining: float) -> Reply:
        from mcp_transport.threads import borrowed_threads

        end, threads = self._loop.time() + remaining, borrowed_threads()
        await self._reconnect()
        try:
            return await self._reply(incoming, remaining)
        finally:
            await self._finish(end, threads)
            self._last_event = time.time()

    async def _reconnect(self) -> None:
        """Close connections to the store that may have been cut while the process was frozen."""
        if self._endpoint is not None and abs(time.time() - self._last_event) > _IDLE_SECONDS:
            with suppress(BackendError):
                await self._endpoint.backend.sessions.disconnect()

    async def _finish(self, end: float, threads: int) -> None:
        """Finish what the request has left to do, as far as the time of the function allows it."""
        if self._endpoint is None:
            return
        from mcp_transport.threads import borrowed_threads

        try:
            async with asyncio.timeout_at(end - _reserved(end - self._loop.time()) / 2):
                for node in self._endpoint.pool.nodes:
                    await node.leave()
                # A thread of an earlier call that never ends is not waited for.
                while borrowed_threads() > threads:  # noqa: ASYNC110 (threads have no events of the loop)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            logger.warning("a function is frozen with work that did not end in its time")
        except BackendError as error:
            logger.warning("what a request has written behind may be lost: %s", error)

    # -- one request ---------------------------------------------------------------------------------

    async def _reply(self, incoming: Incoming, remaining: float) -> Reply:
        if self._endpoint is None:
            from mcp_transport.bootstrap import ERROR_REPLY

            return ERROR_REPLY
        request = incoming.request
        if request.path.rstrip("/") == self._path:
            return await self._serve(self._endpoint, incoming, remaining)
        from mcp_transport.health import report
        from mcp_transport.well_known import metadata

        if (health := await report(request.path)) is not None:
            status, body = health
            return Reply(status=status, headers=_JSON, body=json.dumps(body).encode())
        return metadata(request.method, request.path) or _not_found(request)

    async def _serve(self, endpoint: Endpoint, incoming: Incoming, remaining: float) -> Reply:
        """Answer a request to the endpoint, or say in time that no answer comes."""
        from django.urls import set_script_prefix

        if incoming.prefix:
            set_script_prefix(incoming.prefix)  # for `reverse` in tools
        request = incoming.request
        request.peer = endpoint.client_address(request.peer, request.headers)
        seconds = self._seconds(endpoint, incoming, remaining)
        reserved = _reserved(seconds)
        timer = self._loop.call_later(seconds - reserved, _end_calls, endpoint)
        try:
            async with asyncio.timeout(seconds - reserved / 2):
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

    def _seconds(self, endpoint: Endpoint, incoming: Incoming, remaining: float) -> float:
        """Return how long the answer to a request may take.

        A request with an Idempotency-Key runs on for as long as the function can, also when the front door has given
        up: its client can send it again, and then gets the answer from the store.
        """
        door: FrontDoor = incoming.door
        limit = door.seconds if self._answer_within is None else self._answer_within
        is_kept = endpoint.backend.shares_streams and endpoint.backend.streams.keeps_answers
        if limit is None or (is_kept and IDEMPOTENCY_KEY in incoming.request.headers):
            return remaining
        return min(limit, remaining)


def _remaining(context: Any) -> float:
    """Return the seconds that a function may still run; without a context, as in a test by hand, a day."""
    milliseconds = getattr(context, "get_remaining_time_in_millis", None)
    return milliseconds() / 1000 if milliseconds is not None else 86_400.0


def _reserved(seconds: float) -> float:
    return min(_RESERVED_SECONDS, max(0.0, seconds) * _MAX_RESERVED_SHARE)


def _end_calls(endpoint: Endpoint) -> None:
    for node in endpoint.pool.nodes:
        node.end_calls(_OUT_OF_TIME)


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


def _not_found(request: HTTPRequest) -> Reply:
    detail = f"nothing is served at {request.path[:200]!r}"
    return Reply(status=404, headers=_JSON, body=json.dumps({"detail": detail}).encode())
