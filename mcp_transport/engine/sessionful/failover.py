"""What becomes of calls whose node died: their clients are told, or they are run again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from mcp_transport.domain.history import Ending
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.engine.codec import decode, encode
from mcp_transport.engine.node import Node
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.engine.sessionful.call_group import CallGroup
from mcp_transport.engine.sessionful.request_context import SessionRequest
from mcp_transport.engine.writer import Writer
from mcp_transport.kernel import continued_trace, is_cancellation
from mcp_transport.protocol.errors import abandoned_call_error, lost_call_error
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Request, RequestId, parse_message
from mcp_transport.protocol.memory_estimate import estimate_bytes

__all__ = ["PrincipalLookup", "fail_over"]

logger = logging.getLogger(__name__)

# A durable call that ends or blocks each node which runs it must not go through all of them.
_MOST_RERUNS: Final = 1

PrincipalLookup = Callable[[str, str], Awaitable[Principal]]
"""Finds a principal again by the binding and the name that are stored with its session."""


async def fail_over(
    node: Node, key: str, stream: str, writer: str, request_id: RequestId | None, find_principal: PrincipalLookup
) -> None:
    """Take a stream over whose writer died or forgot it: end its calls with an error, or run durable ones again."""
    claimed = await node.retry_until_expired(lambda: node.backend.claim(key, stream, writer, node.id))
    if claimed is None:
        return
    if (held := node.streams.get((key, stream))) is not None:
        held.writer = ""
    in_flight = [replace(entry, node=node.id) for entry in claimed.requests]
    if not in_flight and request_id is not None:
        in_flight = [InFlightRequest(request_id=request_id, digest=b"", node=node.id, stream=stream)]
    successor = Writer(node, claimed.session, stream, in_flight, first=claimed.next)
    successor.enable_log()
    again = [entry for entry in in_flight if entry.body and claimed.losses <= _MOST_RERUNS]
    if again and not await _can_run_again(node, claimed.session, successor, again, find_principal):
        again = []
    over = [entry for entry in in_flight if entry not in again]
    for entry in over:
        successor.record_ending(entry.request_id, _ending(entry, claimed.losses))
    for entry in over[: None if again else -1]:
        successor.answer(_answer(entry, claimed.losses))
    if not again:
        successor.end(_answer(over[-1], claimed.losses) if over else b"")
    _tell(node, key, over, claimed.losses, stream=stream, writer=writer)


def _ending(entry: InFlightRequest, losses: int) -> Ending:
    return Ending.GIVEN_UP if entry.body and losses > _MOST_RERUNS else Ending.LOST


def _answer(entry: InFlightRequest, losses: int) -> bytes:
    if _ending(entry, losses) is Ending.GIVEN_UP:
        error = abandoned_call_error(losses)
    else:
        error = lost_call_error("the server that ran it was lost", entry.safe)
    return encode({"jsonrpc": "2.0", "id": entry.request_id, "error": error})


async def _can_run_again(
    node: Node,
    session: Session,
    writer: Writer,
    in_flight: list[InFlightRequest],
    find_principal: PrincipalLookup,
) -> bool:
    """Begin durable calls once more; return whether they run."""
    try:
        await _run_again(node, session, writer, in_flight, find_principal)
    except BaseException as error:
        if is_cancellation(error):
            raise
        logger.exception("calls of a lost node cannot be run again")
        return False
    return True


def _tell(node: Node, key: str, over: Sequence[InFlightRequest], losses: int, *, stream: str, writer: str) -> None:
    """Tell operators of the calls that a lost node, the `writer`, leaves without a result."""
    given_up = [entry for entry in over if _ending(entry, losses) is Ending.GIVEN_UP]
    for entry in given_up:
        details = {"operation": entry.operation, "stream": stream, "node": writer, "runs": losses}
        node.observer.report(ClusterEvent.GIVEN_UP, key, **details)
    if lost := len(over) - len(given_up):
        node.observer.report(ClusterEvent.ABANDONED, key, stream=stream, calls=lost, node=writer)


async def _run_again(
    node: Node,
    session: Session,
    writer: Writer,
    in_flight: list[InFlightRequest],
    find_principal: PrincipalLookup,
) -> None:
    """Run durable calls once more, as if the client had sent them; of their request's headers, the trace is kept."""
    bodies = [decode(entry.body) for entry in in_flight]
    requests = [message for body in bodies if isinstance(message := parse_message(body), Request)]
    headers = Headers([("accept", "application/json, text/event-stream"), *bodies[0].get("trace", {}).items()])
    principal = await find_principal(session.principal, session.user)
    memory = node.budget.reserve(principal, session.address)
    memory.force(sum(estimate_bytes(entry.body) for entry in in_flight))  # the node that is lost had let them in
    request = HTTPRequest(method="POST", headers=headers, path="", peer=session.address, memory=memory)
    try:
        async with node.call_context(None, principal):
            requests = [await node.kernel.access.apply(request, principal) for request in requests]
        node.observer.report(ClusterEvent.RERUN, session.key, stream=writer.stream, calls=len(requests))
        with continued_trace(headers):
            CallGroup(SessionRequest(node, request, principal, session, "", is_rerun=True), writer, requests).start()
    finally:
        memory.release()
