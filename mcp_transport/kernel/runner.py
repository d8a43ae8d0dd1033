"""The SDK's runner and connection, made for one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.runner import ServerRunner, aclose_shielded
from mcp_types import ClientCapabilities, InitializeRequestParams, InputRequiredResult

from mcp_transport.kernel.dispatch_context import Exchange, StandaloneChannel
from mcp_transport.kernel.parse_cache import remembered
from mcp_transport.kernel.tracing import in_span

__all__ = ["Runner", "close", "connection_of"]


@dataclass
class Runner(ServerRunner[Any]):
    """The SDK's runner, without spans that reach nobody."""

    traced: bool = True
    answer: InputRequiredResult | None = None
    """What the handler has answered already."""

    def _compose_server_middleware(self, inner: CallNext) -> CallNext:
        call = inner if self.answer is None else self._answered
        for middleware in reversed(self.server.middleware):
            # Not isinstance: this class is a Protocol's, which is slow to ask.
            if type(middleware) is not OpenTelemetryMiddleware:
                call = partial(middleware, call_next=call)
            elif self.traced:
                call = partial(in_span, middleware, call_next=call)
        return call

    async def _answered(self, ctx: ServerRequestContext[Any, Any]) -> HandlerResult:
        return self._serialize(ctx.method, ctx.protocol_version, self.answer)


async def close(connection: Connection) -> None:
    """Do what handlers left to be done at the end, which is mostly nothing."""
    if connection.exit_stack._exit_callbacks:  # type: ignore[attr-defined]
        await aclose_shielded(connection)


def connection_of(exchange: Exchange) -> Connection:
    """Build the connection of a client that needs no handshake any more."""
    facts = exchange.facts
    params, capabilities = _client(facts.protocol_version, [facts.client_info, facts.capabilities])
    made = Connection(
        StandaloneChannel(exchange),
        protocol_version=facts.protocol_version,
        session_id=facts.session_id,
        client_params=params,
    )
    made.client_capabilities = capabilities
    made.initialized.set()
    return made


@remembered
def _client(version: str, about: Sequence[Any]) -> tuple[InitializeRequestParams | None, ClientCapabilities | None]:
    """Read what a client says of itself, as the SDK reads an envelope."""
    connection = Connection.from_envelope(version, *about)
    return connection.client_params, connection.client_capabilities
