"""One exchange with a kernel: what a client sent, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mcp_transport.domain.principal import Principal
from mcp_transport.kernel import Caller, ClientChannel, ClientInfo, Exchange, Kernel
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Outcome, Request

ON_THE_FAST_PATH = pytest.mark.parametrize("fast", [True], indirect=True)
"""Marks a test of the fast path itself, or one that compares both ways."""


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["fast", "sdk"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Serve on the fast path, and the SDK's own way; return whether it is the former."""
    build: Any = Kernel.__init__
    monkeypatch.setitem(build.__kwdefaults__, "fast", request.param)
    return bool(request.param)


class Recorder(ClientChannel):
    """A client channel that records what is sent."""

    can_request = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, Mapping[str, Any] | None]] = []
        self.emitted: list[str] = []
        self.closed = False

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        self.sent.append((method, params))

    async def request(self, method: str, params: Mapping[str, Any] | None, seconds: float | None) -> dict[str, Any]:
        self.sent.append((method, params))
        return {"action": "accept", "content": {"name": "Ann"}}

    def withdraw(self) -> None: ...

    async def emit(self, method: str, params: Mapping[str, Any] | None) -> None:
        self.emitted.append(method)

    async def close_stream(self) -> None:
        self.closed = True


def exchange(channel: Recorder, version: str = "2025-11-25", **capabilities: Any) -> Exchange:
    request = HTTPRequest(method="POST", headers=Headers([("user-agent", "x")]))
    client = ClientInfo(
        protocol_version=version, client_info={"name": "c", "version": "1"}, capabilities=capabilities
    )
    caller = Caller(request, Principal("test", "ann", user="ann"))
    return Exchange(
        client=client, channel=channel, caller=caller, lifespan={"k": 1}, request_id=7, progress_token="p"
    )


async def served(kernel: Kernel, exchange: Exchange, request: Request) -> Outcome:
    return await kernel.serve(request, exchange.client.protocol_version, lambda: exchange)
