"""Calls whose node was lost: the node that takes them over says so in the session's history."""

from __future__ import annotations

import pytest

from mcp_transport.domain.history import Failure, FailureKind
from mcp_transport.domain.session import InFlightRequest, session_key
from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import SessionClient

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(("body", "kind"), [(b"", FailureKind.LOST), (b"{}", FailureKind.GIVEN_UP)])
async def test_history_says_that_the_node_was_lost(
    nodes: tuple[Endpoint, Endpoint], client: SessionClient, body: bytes, kind: FailureKind
) -> None:
    """A durable call, which has a body, is run again only once."""
    key, sessions = session_key(client.session_id), nodes[0].backend.sessions
    lost = InFlightRequest(
        request_id=7, digest=b"d", node="gone-1", stream="aa", operation="tools/call add", body=body
    )
    await sessions.enter(key, "", "gone-1", [lost])
    if kind is FailureKind.GIVEN_UP:
        assert await nodes[0].backend.streams.claim(key, "aa", "gone-1", "gone-2") is not None
    node = await nodes[1].pool.node()
    node.fail_over(key, "aa", "gone-2" if kind is FailureKind.GIVEN_UP else "gone-1")
    await node.tasks.wait_idle(60)
    [entry] = [entry for entry in await sessions.history(key) if entry.request_id == 7]
    assert entry.ending is not None
    assert entry.failure == Failure(ending=entry.ending, kind=kind, code=-32603)
    assert entry.node == node.id, "that has taken it over"
