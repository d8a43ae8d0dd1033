"""A call that is run again is judged again, for a principal whose scopes are forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_transport import Context, tool
from mcp_transport.auth.authentication import Authentication
from mcp_transport.auth.resource import Resource
from mcp_transport.backends.base import Backend, Event
from mcp_transport.declarations import Declarations
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
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
    """Serve durable tools that tell their principal's scopes; its gate recalls principals with all scopes."""

    async def scopes(ctx: Context) -> str:
        return " ".join(sorted(ctx.principal.scopes or ())) or "none"

    for name, rule in RULES.items():
        tool(name=name, durable=True, **rule)(scopes)
    policy, clock = Policy(), FakeClock()
    gate = Authentication([Knows("one", "read", "write")], is_open=False, resource=Resource())

    async def authenticate(_: Any) -> Principal:
        return FULL

    endpoint = Endpoint(
        Kernel(build_server(KEYS)),
        Backend.of(Losing(policy, clock.now)),
        policy,
        keys=KEYS,
        authenticate=authenticate,
        access=declarations.access,
        principal_without_request=gate.principal_without_request,
        clock=clock,
    )
    yield endpoint
    await endpoint.stop()


@pytest.mark.parametrize(
    ("name", "again"), [("open", "none"), ("scoped", "none"), ("visible", "Unknown tool: visible")]
)
async def test_what_scopes_showed_is_hidden_and_what_scopes_admitted_runs_without_them(
    name: str, again: str, endpoint: Endpoint
) -> None:
    client = SessionClient(endpoint)
    await client.open()
    first = await client.post(request("tools/call", {"name": name, "arguments": {}}, id=7))
    assert text_of(first.json) == "read write"
    backend: Any = endpoint.backend.sessions
    key, stream = session_key(client.session_id), backend.entered[0].stream
    node = await endpoint.node()
    node.fail_over(key, stream, "lost")
    await settle()
    events: tuple[Event, ...] = (await backend.read(key, stream, 1_000_000_000))[0]
    assert again.encode() in events[-1].payload
