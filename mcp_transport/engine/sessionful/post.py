"""POST: messages to a session."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from mcp_transport.engine.node import Node
from mcp_transport.engine.reply import accepted
from mcp_transport.engine.sessionful.answering import Answering
from mcp_transport.engine.sessionful.messages import take_notification, take_reply
from mcp_transport.engine.sessionful.streams import attach
from mcp_transport.engine.sessionful.visit import Visit, not_found
from mcp_transport.protocol.cursor import Cursor
from mcp_transport.protocol.errors import (
    invalid_request,
)
from mcp_transport.protocol.http import HTTPRequest, Reply, StreamReply
from mcp_transport.protocol.inbound import Sessionful, check_version, required_session_id
from mcp_transport.protocol.inbox import Joined
from mcp_transport.protocol.jsonrpc import Notification, Request, Response
from mcp_transport.protocol.principal import Principal
from mcp_transport.protocol.session import Flight, session_key
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["post"]


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
    try:
        entered = await node.backend.enter(key, principal.binding, node.id, flights)
        if entered is None:
            raise not_found()
        visit = Visit(node, request, principal, entered.session, session_id)
        if entered.running:
            return await _join(visit, entered.running, digest)
        await _take_what_needs_no_answer(visit, work)
    except BaseException:
        # Also when the client left meanwhile: requests that do not run must not stay on the books.
        node.lifecycle.spawn(_give_up(node, key, stream, requests))
        raise
    if not requests:
        return accepted()
    return await Answering(visit, stream, requests, entered, work.batch).run()


async def _give_up(node: Node, key: str, stream: str, requests: Sequence[Request]) -> None:
    """Take requests off the session's books, but not those that another POST runs under the same ids."""

    async def leave() -> None:
        own = {flight.request_id for flight in await node.backend.flights(key) if flight.stream == stream}
        await node.backend.leave(key, [item.id for item in requests if item.id in own])

    await node.insist(leave)


async def _take_what_needs_no_answer(visit: Visit, work: Sessionful) -> None:
    if work.batch and not REVISIONS[visit.session.protocol_version].batches:
        raise invalid_request(f"batches do not exist in {visit.session.protocol_version}: send one message a POST")
    for message in work.messages:
        if isinstance(message, Response):
            await take_reply(visit, message)
        elif isinstance(message, Notification):
            await take_notification(visit, message)


async def _join(visit: Visit, running: Sequence[Flight], digest: bytes) -> StreamReply:
    """Give a client that sends its POST again the stream of the first one: the tool runs once."""
    if any(flight.digest != digest for flight in running) or not visit.accepts.sse:
        raise invalid_request("a request with this id is in flight: an id must not be used twice in a session")
    key, first = visit.session.key, running[0]
    await visit.node.backend.send(first.node, Joined(key, first.request_id))
    return await attach(visit.node, key, visit.principal, Cursor(first.stream, 0))
