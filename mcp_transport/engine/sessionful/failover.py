"""Takeover of calls whose node has died: they end with an error, or durable ones run again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mcp_transport.domain.history import Ending, Failure, FailureKind
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.engine.authorization import Authorization
from mcp_transport.engine.codec import decode, encode
from mcp_transport.engine.node import Node
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.engine.sessionful.call_group import CallGroup
from mcp_transport.engine.sessionful.request_context import SessionRequest
from mcp_transport.engine.writer import Writer
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.kernel import continued_trace, is_cancellation
from mcp_transport.protocol.errors import INTERNAL_ERROR, abandoned_call_error, lost_call_error
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Request, RequestId, parse_message
from mcp_transport.protocol.memory_estimate import estimate_bytes

__all__ = ["FailOver", "PrincipalLookup"]

logger = logging.getLogger(__name__)

# A durable call that crashes or blocks its node must not do so on all nodes.
_MAX_RERUNS: Final = 1

PrincipalLookup = Callable[[str, str], Awaitable[Principal]]
"""Finds a principal by the binding and the name that are stored with its session."""


@dataclass(frozen=True)
class FailOver:
    """Takes over calls whose node has died; a call that is run again passes its principal's access rules again."""

    find_principal: PrincipalLookup
    authorization: Authorization | None = None

    async def __call__(self, node: Node, key: str, stream: str, writer: str, request_id: RequestId | None) -> None:
        """Take over a stream whose writer has died or lost it; end its calls with an error, or rerun durable ones."""
        claimed = await node.retry_until_expired(lambda: node.backend.streams.claim(key, stream, writer, node.id))
        if claimed is None:
            return
        if (open_stream := node.registry.streams.get((key, stream))) is not None:
            open_stream.writer = ""
        in_flight = [replace(entry, node=node.id) for entry in claimed.requests]
        if not in_flight:  # they have left the store, and a client that has repeated its POST waits for them
            ids = [request_id] if request_id is not None else await _ended_on(node, key, stream)
            in_flight = [InFlightRequest(request_id=id, digest=b"", node=node.id, stream=stream) for id in ids]
        successor = node.log.new_writer(claimed.session, stream, in_flight, first=claimed.next)
        node.log.enable(successor)
        reruns = [entry for entry in in_flight if entry.body and claimed.losses <= _MAX_RERUNS]
        if reruns and not await _has_started(self._rerun(node, successor, reruns)):
            reruns = []
        ended = [entry for entry in in_flight if entry not in reruns]
        for entry in ended:
            successor.record_ending(entry.request_id, _failure(entry, claimed.losses))
        for entry in ended[: None if reruns else -1]:
            successor.add_response(_answer(entry, claimed.losses))
        if not reruns:
            successor.end(_answer(ended[-1], claimed.losses) if ended else b"")
        _report(node, key, ended, claimed.losses, stream=stream, writer=writer)

    async def _rerun(self, node: Node, writer: Writer, in_flight: list[InFlightRequest]) -> None:
        """Run durable calls again as if the client had sent them; of the HTTP headers, only the trace was stored."""
        session, bodies = writer.session, [decode(entry.body) for entry in in_flight]
        requests = [message for body in bodies if isinstance(message := parse_message(body), Request)]
        headers = Headers([("accept", "application/json, text/event-stream"), *bodies[0].get("trace", {}).items()])
        principal = await self.find_principal(session.principal, session.user)
        memory = node.budget.reserve(principal, session.address)
        memory.force(sum(estimate_bytes(entry.body) for entry in in_flight))  # the lost node has admitted them
        request = HTTPRequest(method="POST", headers=headers, path="", peer=session.address, memory=memory)
        try:
            if self.authorization is not None:
                requests = await self.authorization.apply_to_all(None, requests, principal)
            node.observer.report(ClusterEvent.RERUN, session.key, stream=writer.stream, calls=len(requests))
            with continued_trace(headers):
                CallGroup(
                    SessionRequest(node, request, principal, session, "", is_rerun=True), writer, requests
                ).start()
        finally:
            memory.release()


async def _ended_on(node: Node, key: str, stream: str) -> list[RequestId]:
    """Return the requests that have ended on a stream, as far as the session's history has them."""
    entries = await node.retry_until_expired(lambda: node.backend.sessions.history(key)) or ()
    return [entry.request_id for entry in entries if entry.stream == stream and entry.request_id is not None]


def _ending(entry: InFlightRequest, losses: int) -> Ending:
    return Ending.GIVEN_UP if entry.body and losses > _MAX_RERUNS else Ending.LOST


def _failure(entry: InFlightRequest, losses: int) -> Failure:
    ending = _ending(entry, losses)
    kind = FailureKind.GIVEN_UP if ending is Ending.GIVEN_UP else FailureKind.LOST
    return Failure(ending=ending, kind=kind, code=INTERNAL_ERROR)


def _answer(entry: InFlightRequest, losses: int) -> bytes:
    if _ending(entry, losses) is Ending.GIVEN_UP:
        error = abandoned_call_error(losses)
    else:
        error = lost_call_error("the server that ran the call was lost", entry.safe)
    return encode({"jsonrpc": "2.0", "id": entry.request_id, "error": error})


async def _has_started(rerun: Awaitable[None]) -> bool:
    """Run durable calls again; return whether they have started."""
    try:
        await rerun
    except InvalidCredentials as error:
        logger.warning("calls of a lost node are not run again: %s", error)
        return False
    except BaseException as error:
        if is_cancellation(error):
            raise
        logger.exception("calls of a lost node cannot be run again")
        return False
    return True


def _report(node: Node, key: str, ended: Sequence[InFlightRequest], losses: int, *, stream: str, writer: str) -> None:
    """Report the calls of a lost node, the `writer`, that end without a result."""
    abandoned = [entry for entry in ended if _ending(entry, losses) is Ending.GIVEN_UP]
    for entry in abandoned:
        details = {"operation": entry.operation, "stream": stream, "node": writer, "runs": losses}
        node.observer.report(ClusterEvent.GIVEN_UP, key, **details)
    if lost := len(ended) - len(abandoned):
        node.observer.report(ClusterEvent.ABANDONED, key, stream=stream, calls=lost, node=writer)
