"""The SDK's runner and connection, built for one request."""

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
from mcp_transport.kernel.parse_cache import cached_by_json
from mcp_transport.kernel.tracing import in_span

__all__ = ["Runner", "close", "connection_of"]


@dataclass
class Runner(ServerRunner[Any]):
    """The SDK's runner; it creates spans only where they are recorded."""

    traced: bool = True
    result: InputRequiredResult | None = None
    """The result of a handler that ran already; only the middleware is still to run."""

    def _compose_server_middleware(self, inner: CallNext) -> CallNext:  # overrides a private method of the SDK
        call = inner if self.result is None else self._serialize_result
        for middleware in reversed(self.server.middleware):
            # Not isinstance, which is slow for a subclass of a Protocol.
            if type(middleware) is not OpenTelemetryMiddleware:
                call = partial(middleware, call_next=call)
            elif self.traced:
                call = partial(in_span, middleware, call_next=call)
        return call

    async def _serialize_result(self, ctx: ServerRequestContext[Any, Any]) -> HandlerResult:
        return self._serialize(ctx.method, ctx.protocol_version, self.result)


async def close(connection: Connection) -> None:
    """Run the exit callbacks that handlers registered; most register none, and an empty stack is slow to close."""
    if connection.exit_stack._exit_callbacks:  # type: ignore[attr-defined]
        await aclose_shielded(connection)


def connection_of(exchange: Exchange) -> Connection:
    """Build the connection of a client that has completed its handshake, or needs none."""
    client = exchange.client
    params, capabilities = _parse(client.protocol_version, [client.client_info, client.capabilities])
    connection = Connection(
        StandaloneChannel(exchange),
        protocol_version=client.protocol_version,
        session_id=client.session_id,
        client_params=params,
    )
    connection.client_capabilities = capabilities
    connection.initialized.set()
    return connection


@cached_by_json
def _parse(version: str, info: Sequence[Any]) -> tuple[InitializeRequestParams | None, ClientCapabilities | None]:
    """Parse a client's information and capabilities as the SDK parses an envelope."""
    connection = Connection.from_envelope(version, *info)
    return connection.client_params, connection.client_capabilities
