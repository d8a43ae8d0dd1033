"""A call that is run again is judged again, for a principal without scopes; without a principal it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_transport import Context, tool
from mcp_transport.auth.authentication import Authentication
from mcp_transport.auth.resource import Resource
from mcp_transport.backends.base import Backend
from mcp_transport.backends.results import Event
from mcp_transport.declarations import Declarations
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.sessionful import failover
from mcp_transport.kernel import Kernel
from mcp_transport.server import build_server
from tests.auth.test_challenges import Knows
from tests.support.client import SessionClient, request, text_of
from tests.support.clock import FakeClock, settle
from tests.support.losing_backend import Losing
from tests.support.tools import KEYS

FULL = Principal("test", "one", name="one", scopes=frozenset({"read", "write"}))


async def may_read(principal: Principal) -> bool:
    return principal.has_scopes({"read"})


RULES: dict[str, dict[str, Any]] = {"open": {}, "scoped": {"scopes": ["write"]}, "visible": {"visible": may_read}}


@pytest.fixture
async def endpoint(declarations: Declarations) -> AsyncIterator[Endpoint]:
    """Serve durable tools that return their principal's scopes; an authenticator restores it with all scopes."""

    async def scopes(ctx: Context) -> str:
        return " ".join(sorted(ctx.principal.scopes or ())) or "none"

    for name, rule in RULES.items():
        tool(name=name, durable=True, **rule)(scopes)
    policy, clock = Policy(), FakeClock()
    authentication = Authentication([Knows("one", "read", "write")], is_open=False, resource=Resource())

    async def authenticate(_: Any) -> Principal:
        return FULL

    endpoint = Endpoint(
        Kernel(build_server(KEYS)),
        Backend.of(Losing(policy, clock.now)),
        policy,
        keys=KEYS,
        authenticate=authenticate,
        access=declarations.access,
        principal_without_request=authentication.principal_without_request,
        clock=clock,
    )
    yield endpoint
    await endpoint.pool.stop()


@pytest.mark.parametrize(
    ("name", "again"), [("open", "none"), ("scoped", "none"), ("visible", "Unknown tool: visible")]
)
async def test_what_scopes_showed_is_hidden_and_what_scopes_admitted_runs_without_them(
    name: str, again: str, endpoint: Endpoint
) -> None:
    assert again.encode() in await last_event_after_loss(endpoint, name)


async def test_a_call_whose_principal_is_not_restored_ends_with_an_error_and_a_line_in_the_log(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def forget(self: Knows, issuer: str, subject: str) -> None: ...

    monkeypatch.setattr(Knows, "principal_without_request", forget)
    error = json.loads(await last_event_after_loss(endpoint, "open"))["error"]
    assert (error["code"], error["data"]) == (-32603, {"retryable": True})
    [record] = [record for record in caplog.records if record.name == failover.__name__]
    reason = "no authenticator restores the principal of the session"
    assert record.getMessage() == f"calls of a lost node are not run again: {reason}"
    assert (record.levelname, record.exc_info) == ("WARNING", None)


async def last_event_after_loss(endpoint: Endpoint, name: str) -> bytes:
    """Call a tool in a session as if its node were lost, and return the stream's last event."""
    client = SessionClient(endpoint)
    await client.open()
    first = await client.post(request("tools/call", {"name": name, "arguments": {}}, id=7))
    assert text_of(first.json) == "read write"
    backend: Any = endpoint.backend.sessions
    key, stream = session_key(client.session_id), backend.entered[0].stream
    node = await endpoint.pool.node()
    node.fail_over(key, stream, "lost")
    await settle()
    events: tuple[Event, ...] = (await backend.read(key, stream, 1_000_000_000))[0]
    return events[-1].payload
