"""POST: messages from a client to its session."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import TypeVar

from mcp_transport.backends.results import Entered, Event, RateLimited
from mcp_transport.domain.history import Ending
from mcp_transport.domain.node_messages import CancelCall, Wake
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import InFlightRequest, session_key
from mcp_transport.engine.codec import encode
from mcp_transport.engine.node import Node
from mcp_transport.engine.rate_limiter import EntryCharges
from mcp_transport.engine.reply import accepted, batch_error_reply
from mcp_transport.engine.sessionful.call_group import CallGroup
from mcp_transport.engine.sessionful.duplicates import answer_running, replayed_answer
from mcp_transport.engine.sessionful.messages import (
    can_send_early,
    send_before_admission,
    take_notification,
    take_reply,
)
from mcp_transport.engine.sessionful.request_context import SessionRequest, with_rehydration
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import trace_headers
from mcp_transport.protocol.errors import INVALID_PARAMS, invalid_request, lost_call_error
from mcp_transport.protocol.http import HTTPRequest, Reply, StreamReply
from mcp_transport.protocol.idempotency import IDEMPOTENCY_KEY, is_keyed, parse_key, stream_name
from mcp_transport.protocol.jsonrpc import Notification, Request, Response
from mcp_transport.protocol.request_checks import SessionPost, check_version, required_session_id, session_not_found
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["post"]

_T = TypeVar("_T")


async def post(
    node: Node,
    request: HTTPRequest,
    work: SessionPost,
    digest: bytes,
    principal: Principal,
    *,
    charges: EntryCharges | None = None,
    checked_streams: frozenset[str] = frozenset(),
) -> Reply | StreamReply:
    """Process the messages of one POST; requests in flight on `checked_streams` were checked and are not stale.

    Raises:
        ProtocolError: 400 for a missing session id, an unsupported version, a batch that the revision does not
            have, or a request id in use; 404 for an unknown session; 409 or 422 for a used idempotency key; 429.
    """
    session_id, requests = required_session_id(request), work.requests
    check_version(request, node.policy)
    _check_load(node, principal.caller(request.peer), requests)
    key, stream = session_key(session_id), _stream_name(request, requests, work)
    in_flight = [_in_flight_request(node, item, digest, stream) for item in requests]
    with node.registry.opening(key, stream) as early_messages:
        try:
            entered, early = await _enter(node, session_id, principal, in_flight, work, charges)
            if entered is None:
                raise session_not_found()
            context = SessionRequest(node, request, principal, entered.session, session_id)
            is_new = not entered.running and entered.ended_digest is None
            faults = await _process_unanswered(context, work, early) if is_new else []
            if is_new and any(entry.body for entry in in_flight):
                await node.backend.bus.journal_at_once(node.id, key, stream)
        except RateLimited as refusal:
            raise charges.refused(refusal) if charges else refusal from None  # and nothing was registered
        except BaseException:
            # Also when the client has disconnected: requests that do not run must not stay in flight.
            node.tasks.spawn(_discard(node, key, stream, in_flight))
            raise
        if is_new and requests:
            writer = node.log.new_writer(context.session, stream, in_flight)
    if not is_new:
        reply = await _answer_repeated(context, entered, in_flight, checked_streams)
        # Without a reply, the earlier POST has ended and left nothing.
        checked_streams |= {entry.stream for entry in entered.running}
        return reply or await post(node, request, work, digest, principal, checked_streams=checked_streams)
    if not requests:
        return _reply_without_requests(context, work, faults)
    for message in tuple(early_messages):
        node.receive(message)
    cancelled = entered.cancelled.union(item.request_id for item in early_messages if isinstance(item, CancelCall))
    return await CallGroup(context, writer, requests, cancelled=cancelled, faults=faults, batch=work.batch).run()


def _check_load(node: Node, caller: str, requests: Sequence[Request]) -> None:
    """Check that requests would run or wait, and may log. Raises: ProtocolError, 429 or 503."""
    for item in requests:
        limits = node.kernel.limits(item)
        node.admission.check(caller, item, limits)
        if limits.circuit_breaker is not None and len(requests) == 1:  # of several, each is refused by itself
            node.breakers.refuse(item, limits.circuit_breaker)
    if requests and caller in node.log_quota.exceeded:
        node.log_quota.check(caller)


def _reply_without_requests(context: SessionRequest, work: SessionPost, faults: Sequence[ProtocolError]) -> Reply:
    are_all = len(faults) == len(work.messages) + len(work.faults)
    return batch_error_reply(faults, context.accepts, are_all=are_all) if faults else accepted()


def _stream_name(request: HTTPRequest, requests: Sequence[Request], work: SessionPost) -> str:
    """Return the name of a POST's stream, derived from its idempotency key, or random without key or request.

    Raises:
        ProtocolError: 400 for a malformed key, and for a batch, whose responses would share the key.
    """
    header = request.headers.get(IDEMPOTENCY_KEY)
    if header is None or not requests:
        return secrets.token_hex(8)
    if work.batch:
        raise invalid_request("an Idempotency-Key belongs to one request, which must not be sent in an array")
    return stream_name(parse_key(header))


async def _answer_repeated(
    context: SessionRequest, entered: Entered, in_flight: Sequence[InFlightRequest], checked: frozenset[str]
) -> Reply | StreamReply | None:
    """Answer a repeated POST; return None if the earlier one has ended and left nothing."""
    (*_, last) = in_flight
    if entered.ended_digest is not None:
        return await replayed_answer(context, last.stream, last.digest, entered.ended_digest, last.request_id)
    return await answer_running(context, last.stream, last.digest, entered.running, checked)


def _in_flight_request(node: Node, request: Request, digest: bytes, stream: str) -> InFlightRequest:
    retry_safety = node.kernel.retry_safety(request)
    return InFlightRequest(
        request_id=request.id,
        digest=digest,
        node=node.id,
        stream=stream,
        operation=request.operation,
        safe=retry_safety.safe,
        body=_durable_body(request) if retry_safety.durable and node.backend.shares_streams else b"",
    )


def _durable_body(request: Request) -> bytes:
    """Encode a request for a rerun on another node. Raises: ProtocolError for arguments nested too deep."""
    body = {"jsonrpc": "2.0", "id": request.id, "method": request.method, "params": request.params or {}}
    body |= {"trace": trace} if (trace := trace_headers()) else {}
    try:
        return encode(body)
    except RecursionError:
        problem = "Invalid params: the arguments of a durable tool are nested too deep to be stored"
        raise ProtocolError(400, INVALID_PARAMS, problem) from None


async def _enter(
    node: Node,
    session_id: str,
    principal: Principal,
    in_flight: Sequence[InFlightRequest],
    work: SessionPost,
    charges: EntryCharges | None,
) -> tuple[Entered | None, object]:
    """Enter the session and forward a single reply or cancellation in the same round trip (ADR 15)."""
    key = session_key(session_id)

    async def enter() -> Entered | None:
        if charges is not None:
            store, caller = node.backend.sessions, principal.binding
            entered = await store.enter_charged(key, caller, node.id, in_flight, charges.charges)
            if entered is not None:
                charges.admitted()
            return entered
        return await node.backend.sessions.enter(key, principal.binding, node.id, in_flight)

    entered = with_rehydration(node, session_id, principal, enter)
    if in_flight or len(work.messages) != 1 or not can_send_early(work.messages[0]):
        return await entered, None
    # Shielded, because clients do not repeat a reply or a cancellation after a disconnect.
    return await _shielded(asyncio.gather(entered, send_before_admission(node, key, principal, work.messages[0])))


async def _shielded(work: asyncio.Future[_T]) -> _T:
    """Wait like `asyncio.shield`, but log nothing if the shielded work fails after a cancellation."""
    work.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(work)


async def _discard(node: Node, key: str, stream: str, in_flight: Sequence[InFlightRequest]) -> None:
    """Remove requests that do not run from the store, but not those of another POST with the same ids."""
    ids = [entry.request_id for entry in in_flight]
    if ids:
        await node.backend.sessions.flush()  # their registration may be queued
        if is_keyed(stream) and not await node.retry_until_expired(lambda: _is_orphaned(node, key, stream)):
            return
        endings = dict.fromkeys(ids, Ending.CANCELLED)
        await node.retry_until_expired(lambda: node.backend.sessions.leave(key, endings, stream=stream))
        await node.retry_until_expired(lambda: _end_joined_streams(node, key, stream, in_flight))


async def _is_orphaned(node: Node, key: str, stream: str) -> bool:
    """Return whether the store lists a keyed request for this node that the node does not run.

    Another POST with the same idempotency key may run it.
    """
    if (key, stream) in node.registry.writers or node.registry.is_opening(key, stream):
        return False
    return any(
        entry.stream == stream and entry.node == node.id for entry in await node.backend.sessions.in_flight(key)
    )


async def _end_joined_streams(node: Node, key: str, stream: str, in_flight: Sequence[InFlightRequest]) -> None:
    """End the streams of clients that have joined requests which never ran."""
    if not await node.backend.streams.writer(key, stream):
        return
    error = lost_call_error("its first connection broke", True)
    bodies = [{"jsonrpc": "2.0", "id": entry.request_id, "error": error} for entry in in_flight]
    events = [Event(number, encode(body), number == len(bodies)) for number, body in enumerate(bodies, 1)]
    appended = await node.backend.streams.append(key, stream, events, writer=node.id)
    if appended is not None and appended.holder is not None:
        node.send_in_background(appended.holder.node, Wake(key, stream))


async def _process_unanswered(context: SessionRequest, work: SessionPost, early: object) -> list[ProtocolError]:
    """Process responses and notifications; return the errors of a batch.

    Raises:
        ProtocolError: the revision has no batches, or the single message is invalid.
    """
    if work.batch and not REVISIONS[context.session.protocol_version].batches:
        raise invalid_request(f"{context.session.protocol_version} has no batches: send one message per POST")
    faults = list(work.faults)
    for message in work.messages:
        try:
            if isinstance(message, Response):
                await take_reply(context, message, early)
            elif isinstance(message, Notification):
                await take_notification(context, message, early)
        except ProtocolError as error:
            if not work.batch:
                raise
            faults.append(error)
    return faults
