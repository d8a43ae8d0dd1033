"""Conversations that live in a session (2025-03-26 to 2025-11-25): POST, GET and DELETE, on any node."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mcp_transport.backends.base import Attached, Entered
from mcp_transport.engine.call import Call, SessionOutlet, Writer
from mcp_transport.engine.clock import wait
from mcp_transport.engine.codec import encode
from mcp_transport.engine.node import Node
from mcp_transport.engine.reply import accepted, answer
from mcp_transport.engine.session_handle import SessionHandle
from mcp_transport.engine.stream import Frames, OpenStream
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import Caller, Facts
from mcp_transport.protocol import sse
from mcp_transport.protocol.cursor import GET_STREAM, Cursor
from mcp_transport.protocol.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    REQUEST_CANCELLED,
    error_body,
    invalid_request,
)
from mcp_transport.protocol.headers import Accepts
from mcp_transport.protocol.http import HTTPRequest, Reply, StreamReply
from mcp_transport.protocol.inbound import Sessionful, check_version, required_session_id
from mcp_transport.protocol.inbox import CancelCall, Closed, ReplyArrived, Superseded
from mcp_transport.protocol.jsonrpc import Notification, Request, Response, is_request_id
from mcp_transport.protocol.principal import Principal
from mcp_transport.protocol.session import Flight, Session, session_key, short_id
from mcp_transport.protocol.versions import REVISIONS, negotiate

__all__ = ["delete", "get", "open_session", "post"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Visit:
    """One POST to a session that admitted it."""

    node: Node
    request: HTTPRequest
    principal: Principal
    session: Session
    session_id: str

    @property
    def accepts(self) -> Accepts:
        """Return which answers the client takes; without streaming, JSON is all there is."""
        accepts = Accepts.parse(self.request.headers)
        return accepts if self.request.streaming else Accepts(json=accepts.json, sse=False)

    @property
    def owner(self) -> str:
        """Return what proves that a reply comes from the client that was asked."""
        return f"{self.session.key}\n{self.session.principal}"

    @property
    def polling(self) -> bool:
        """Tell whether the client knows priming events and polling."""
        return REVISIONS[self.session.protocol_version].polling

    def caller(self) -> Caller:
        """Describe the caller to a handler."""
        return Caller(
            headers=self.request.headers,
            user=self.principal.user,
            principal=self.principal.binding,
            session=SessionHandle(self.node.backend, self.session.key),
        )

    def facts(self) -> Facts:
        """Describe the client to the kernel."""
        return Facts(
            protocol_version=self.session.protocol_version,
            client_info=self.session.client_info,
            capabilities=self.session.capabilities,
            session_id=self.session_id,
        )


# -- initialize --------------------------------------------------------------------------------------


async def open_session(node: Node, request: HTTPRequest, message: Request, principal: Principal) -> Reply:
    """Answer `initialize` and, if it succeeded, open a session for its principal.

    Raises:
        BackendError: the session could not be stored.
    """
    session_id = secrets.token_urlsafe(32)
    params = dict(message.params or {})
    version = negotiate(params.get("protocolVersion"), node.policy.versions)
    if isinstance(params.get("protocolVersion"), str):
        params["protocolVersion"] = version
    now = node.clock.now()
    session = Session(
        key=session_key(session_id),
        protocol_version=version,
        principal=principal.binding,
        user=principal.name,
        address=request.peer,
        user_agent=request.headers.get("user-agent", "")[:200],
        node=node.id,
        created=now,
        last_seen=now,
        ends=now + node.policy.session_max_age,
    )
    visit = Visit(node, request, principal, session, session_id)
    writer = Writer(node, session.key, "", ())
    outlet = SessionOutlet(node, writer, owner="", log_level="", can_stream=False, polling=False)
    exchange = node.exchange(visit.facts(), outlet, visit.caller(), message)
    outcome, client = await node.kernel.initialize(exchange, params)
    accepts = Accepts.parse(request.headers)
    if outcome.error is not None:
        return answer(outcome.body(message.id), accepts)
    await _store(visit, client["clientInfo"], client["capabilities"])
    return answer(outcome.body(message.id), accepts, headers=(("Mcp-Session-Id", session_id),))


async def _store(visit: Visit, client_info: dict[str, object], capabilities: dict[str, object]) -> None:
    node = visit.node
    session = replace(visit.session, client_info=client_info, capabilities=capabilities)
    for key in await node.backend.open(session):
        logger.info("session %s makes room for a new one of the same principal", short_id(key))
        await _close(node, key, None)
    logger.info("session %s opened by %s", short_id(session.key), client_info.get("name", ""))


# -- POST --------------------------------------------------------------------------------------------


async def post(
    node: Node, request: HTTPRequest, work: Sessionful, digest: bytes, principal: Principal
) -> Reply | StreamReply:
    """Take the messages of one POST to a session.

    Raises:
        ProtocolError: 400 for a missing id, a bad version, a batch out of its time, an id in use; 404 for
            an unknown session.
    """
    session_id = required_session_id(request)
    check_version(request, node.policy)
    key, stream = session_key(session_id), secrets.token_hex(8)
    requests = [message for message in work.messages if isinstance(message, Request)]
    flights = [Flight(request_id=item.id, digest=digest, node=node.id, stream=stream) for item in requests]
    entered = await node.backend.enter(key, principal.binding, node.id, flights)
    if entered is None:
        raise _not_found()
    visit = Visit(node, request, principal, entered.session, session_id)
    if entered.running:
        return await _join(visit, entered.running, digest)
    if work.batch and not REVISIONS[entered.session.protocol_version].batches:
        await node.backend.leave(key, [item.id for item in requests])
        raise invalid_request(f"batches do not exist in {entered.session.protocol_version}: send one message a POST")
    for message in work.messages:
        if isinstance(message, Response):
            await _take_reply(visit, message)
        elif isinstance(message, Notification):
            await _take_notification(visit, message)
    if not requests:
        return accepted()
    return await _Post(visit, stream, requests, entered, work.batch).run()


async def _join(visit: Visit, running: Sequence[Flight], digest: bytes) -> StreamReply:
    """Give a client that sends its POST again the stream of the first one: the tool runs once."""
    if any(flight.digest != digest for flight in running) or not visit.accepts.sse:
        raise invalid_request("a request with this id is in flight: an id must not be used twice in a session")
    local = next((call for call in visit.node.calls.values() if call.request.id == running[0].request_id), None)
    if local is not None and local.writer is not None:
        local.writer.keep_log()
        await local.writer.flush()
    return await _attach(visit.node, visit.session.key, visit.principal, Cursor(running[0].stream, 0))


async def _take_reply(visit: Visit, reply: Response) -> None:
    node_id = visit.node.node_of_request(reply.id, visit.owner)
    if node_id is None:
        raise invalid_request("the response answers no request that this server sent in this session")
    await visit.node.backend.send(node_id, ReplyArrived(str(reply.id), reply.result, reply.error))


async def _take_notification(visit: Visit, notification: Notification) -> None:
    node = visit.node
    if notification.method == "notifications/cancelled":
        await _cancel(visit, notification)
        return
    if notification.method == "notifications/initialized":
        await node.backend.update(visit.session.key, initialized=True)
    outlet = SessionOutlet(
        node, Writer(node, visit.session.key, "", ()), owner="", log_level="", can_stream=False, polling=False
    )
    handled = node.lifecycle.spawn(
        node.kernel.notify(node.exchange(visit.facts(), outlet, visit.caller()), notification)
    )
    if not visit.request.streaming:
        await asyncio.wait([handled])  # the loop ends with this request


async def _cancel(visit: Visit, notification: Notification) -> None:
    request_id = (notification.params or {}).get("requestId")
    if not is_request_id(request_id):
        raise ProtocolError(
            400, INVALID_PARAMS, "notifications/cancelled must name a requestId, a string or an integer"
        )
    flight = await visit.node.backend.cancel(visit.session.key, request_id)
    if flight is not None:
        await visit.node.backend.send(flight.node, CancelCall(visit.session.key, request_id))


class _Post:
    """The requests of one POST, run side by side, answered together."""

    def __init__(self, visit: Visit, stream: str, requests: Sequence[Request], entered: Entered, batch: bool) -> None:
        self._visit, self._node, self._batch = visit, visit.node, batch
        self._writer = Writer(visit.node, visit.session.key, stream, tuple(request.id for request in requests))
        outlet = SessionOutlet(
            visit.node,
            self._writer,
            owner=visit.owner,
            log_level=visit.session.log_level,
            can_stream=visit.accepts.sse,
            polling=visit.polling,
        )
        facts = visit.facts()
        self._calls = [
            Call(visit.node, request, visit.node.exchange(facts, outlet, visit.caller(), request), self._writer)
            for request in requests
            if request.id not in entered.cancelled
        ]
        self._running = len(self._calls)
        self._answers: list[object] = []
        self._errors = 0

    async def run(self) -> Reply | StreamReply:
        """Start the calls; answer with JSON when all are done in time and said nothing else, else with a stream."""
        for call in self._calls:
            self._node.calls[self._visit.session.key, call.request.id] = call
            call.start(self._done)
        if not self._calls:
            self._end()
        accepts, clock = self._visit.accepts, self._node.clock
        try:
            await wait(clock, self._writer.touched, self._node.policy.sse_after if accepts.sse else None)
        except asyncio.CancelledError:
            # 2025-11-25, basic/transports: a disconnect is no cancellation. The client may send the POST again.
            self._writer.keep_log()
            raise
        if self._running or self._writer.has_spoken or (not self._answers and accepts.sse):
            return self._stream()
        if not self._visit.request.streaming:
            await self._writer.finished.wait()  # the loop ends with this request
        if not self._answers:
            return answer(error_body(REQUEST_CANCELLED, "the request was cancelled"), accepts)
        return answer(self._answers if self._batch else self._answers[0], accepts)

    def _done(self, call: Call) -> None:
        self._node.calls.pop((self._visit.session.key, call.request.id), None)
        self._running -= 1
        if call.outcome is not None:
            body = call.outcome.body(call.request.id)
            self._answers.append(body)
            self._errors += call.outcome.failed
            self._writer.write(encode(body), terminal=not self._running, answer=True)
        elif not self._running:
            self._writer.write(b"", terminal=True, answer=True)
        if not self._running:
            self._node.lifecycle.spawn(self._writer.finish(self._errors))

    def _end(self) -> None:
        self._writer.write(b"", terminal=True, answer=True)
        self._node.lifecycle.spawn(self._writer.finish(0))

    def _stream(self) -> StreamReply:
        policy, writer = self._node.policy, self._writer
        opening = (
            sse.priming_event(str(Cursor(writer.stream, 0)), policy.retry_ms) if self._visit.polling else sse.COMMENT
        )
        stream = OpenStream(
            self._node.backend,
            self._node.clock,
            key=writer.key,
            stream=writer.stream,
            cursor=0,
            keepalive=policy.keepalive,
            queue=policy.stream_queue,
            opening=opening,
            events=writer.unwritten,
        )
        writer.keep_log(holder=self._node.id)
        if writer.opens_closed:
            stream.end()
        return _reply(self._node, stream, epoch=1)


# -- GET ---------------------------------------------------------------------------------------------


async def get(node: Node, request: HTTPRequest, principal: Principal) -> StreamReply:
    """Open the session's GET stream, or resume any stream of the session after `Last-Event-ID`.

    Raises:
        ProtocolError: 400 for a missing session id or an event id that leads nowhere; 404 for an unknown session.
    """
    key = session_key(required_session_id(request))
    check_version(request, node.policy)
    last_event_id = request.headers.get("last-event-id")
    cursor = Cursor.parse(last_event_id) if last_event_id else None
    return await _attach(node, key, principal, cursor)


async def _attach(node: Node, key: str, principal: Principal, cursor: Cursor | None) -> StreamReply:
    stream, after = (cursor.stream, cursor.seq) if cursor else (GET_STREAM, None)
    try:
        attached = await node.backend.attach(key, principal.binding, stream, after, node.id)
    except LookupError:
        raise invalid_request("Last-Event-ID names no event of this session that is still known") from None
    if attached is None:
        raise _not_found()
    if attached.previous is not None:
        logger.info("stream %s of session %s is taken over", stream, short_id(key))
        await node.backend.send(attached.previous.node, Superseded(key, stream, attached.holder.epoch))
    return _reply(node, _resumed(node, key, stream, attached), attached.holder.epoch)


def _resumed(node: Node, key: str, stream: str, attached: Attached) -> OpenStream:
    policy = node.policy
    polling = REVISIONS[attached.session.protocol_version].polling
    open_stream = OpenStream(
        node.backend,
        node.clock,
        key=key,
        stream=stream,
        cursor=attached.cursor,
        keepalive=policy.keepalive,
        queue=policy.stream_queue,
        opening=sse.priming_event(str(Cursor(stream, attached.cursor)), policy.retry_ms) if polling else sse.COMMENT,
        events=attached.events,
        lost=attached.lost,
    )
    if attached.ended:
        open_stream.end()
    return open_stream


def _reply(node: Node, stream: OpenStream, epoch: int) -> StreamReply:
    node.hold(stream, epoch)
    return StreamReply(
        status=200, headers=sse.HEADERS, frames=Frames(stream.frames(), on_close=lambda: node.let_go(stream))
    )


# -- DELETE ------------------------------------------------------------------------------------------


async def delete(node: Node, request: HTTPRequest, principal: Principal) -> Reply:
    """End the session: its calls, its streams, everywhere.

    Raises:
        ProtocolError: 400 for a missing session id, 404 for an unknown session.
    """
    key = session_key(required_session_id(request))
    check_version(request, node.policy)
    if not await _close(node, key, principal.binding):
        raise _not_found()
    return Reply(status=204)


async def _close(node: Node, key: str, principal: str | None) -> bool:
    closing = await node.backend.close(key, principal)
    if closing is None:
        return False
    for name in closing.nodes:
        await node.backend.send(name, Closed(key))
    logger.info("session %s closed", short_id(key))
    return True


def _not_found() -> ProtocolError:
    return ProtocolError(
        404, INVALID_REQUEST, "Session not found: it ended, expired or never was; send initialize without an id"
    )
