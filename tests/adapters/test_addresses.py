"""Whose address a request comes from: each adapter hands on its peer and X-Forwarded-For.

Which of the addresses is the client's is told by tests/protocol/test_client_address.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client, override_settings

from mcp_transport.bootstrap import endpoint
from mcp_transport.domain.session import session_key
from tests.support.http.inprocess import Visit, scope_of
from tests.support.http.messages import INITIALIZE, post
from tests.support.http.request import BOTH
from tests.support.served import InProcess, application
from tests.support.site import settings as site

PROXY, CLIENT, MADE_UP = "127.0.0.1", "203.0.113.9", "198.51.100.7"
LINES = (("X-Forwarded-For", f"{MADE_UP}, {CLIENT}"), ("X-Forwarded-For", "10.0.0.2:4711"))

CASES = [
    ([], (PROXY, 50000), PROXY),
    ([PROXY, "10.0.0.0/8"], (PROXY, 50000), CLIENT),
    (["unix", "10.0.0.0/8"], None, CLIENT),
    (["10.0.0.0/8"], None, ""),
]
by_trust = pytest.mark.parametrize(("trusted", "peer", "address"), CASES)


def trusting(proxies: list[str]) -> Any:
    return override_settings(MIDDLEWARE=[], MCP_TRANSPORT={**site.MCP_TRANSPORT, "TRUSTED_PROXIES": proxies})


async def recorded(session_id: str) -> str:
    """Return the address that operators see of a session."""
    session = await endpoint().backend.sessions.get(session_key(session_id))
    assert session is not None
    return session.address


@by_trust
@pytest.mark.parametrize("adapter", ["view", "mounted"])
async def test_a_session_has_the_address_of_its_client(
    in_process: InProcess, adapter: str, trusted: list[str], peer: Any, address: str
) -> None:
    with trusting(trusted):
        request = post(INITIALIZE, *LINES)
        visit = Visit(application(adapter), scope_of(request, client=peer), (request.body,))
        await visit.read_head()
        assert visit.status == 200
        assert await recorded(visit.header("mcp-session-id") or "") == address
        await visit.end()
        await endpoint().pool.stop()


@by_trust
@pytest.mark.usefixtures("project_without_database")
async def test_a_session_has_the_address_of_its_client_under_wsgi(
    trusted: list[str], peer: Any, address: str
) -> None:
    with trusting(trusted):
        answer = await sync_to_async(Client().post, thread_sensitive=True)(
            "/mcp",
            post(INITIALIZE).body,
            content_type="application/json",
            headers={"accept": BOTH, "host": "localhost", "x-forwarded-for": ",".join(value for _, value in LINES)},
            REMOTE_ADDR=peer[0] if peer else "",
        )
        assert answer.status_code == 200
        assert await recorded(answer["Mcp-Session-Id"]) == address
