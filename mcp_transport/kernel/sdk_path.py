"""The SDK's own way for a message: its checks, its runner with all middleware, and its serialization."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Final

from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.models import InitializationOptions
from mcp.server.runner import ServerRunner, aclose_shielded
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request, validate_mcp_param_headers
from mcp_types import CLIENT_CAPABILITIES_META_KEY, PROTOCOL_VERSION_META_KEY, CallToolResult, TextContent
from pydantic import ValidationError

from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel.arguments import BoundedMetadata, bounded_tool
from mcp_transport.kernel.dispatch_context import Exchange, StandaloneChannel, reject_unanswerable
from mcp_transport.kernel.failures import ExceptionText, no_text, note_failure
from mcp_transport.kernel.handlers import lowlevel
from mcp_transport.kernel.limits import limit_params
from mcp_transport.kernel.tracing import link_spans
from mcp_transport.kernel.validation_errors import error_locations
from mcp_transport.protocol.errors import UNSUPPORTED_VERSION
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.jsonrpc import Notification, Outcome, Request
from mcp_transport.protocol.quoting import truncate
from mcp_transport.protocol.versions import quoted_version

__all__ = ["TOOL_CALL", "SDKPath"]

TOOL_CALL: Final = "tools/call"

logger = logging.getLogger(__name__)


class SDKPath:
    """Serves messages as the SDK does; `FastPath` takes shortcuts that give the same results."""

    def __init__(self, server: Any) -> None:
        self._server = lowlevel(server)
        self.tools = server._tool_manager if isinstance(server, MCPServer) else None  # private, as its lookups are
        # FastMCP reports every error in arguments, and builds its validators for each call.
        self._counts_arguments = not isinstance(server, MCPServer | Server)
        self.exception_text: ExceptionText = no_text
        link_spans(self._server)

    def check_envelope(self, request: Request, headers: Headers, versions: Sequence[str]) -> None:
        """Check the envelope and headers of a sessionless request. Raises: ProtocolError."""
        _check_served_version(request.meta, headers, versions)
        body = {"method": request.method, "params": request.params}
        _raise_rejection(classify_inbound_request(body, headers=headers, supported_modern_versions=versions))

    def check_param_headers(self, name: str, schema: Any, arguments: Mapping[str, Any], headers: Headers) -> None:
        """Check a call of the tool `name` against its Mcp-Param-* headers. Raises: ProtocolError."""
        lines: Any = SimpleNamespace(items=headers.pairs)  # duplicates included, which the SDK's check must see
        _raise_rejection(validate_mcp_param_headers(schema, arguments, lines))

    def warm(self, versions: Sequence[str]) -> Iterator[None]:
        """Build what the first call of each tool would build; yield after each tool, and after each revision."""
        for tool in self.tools.list_tools() if self.tools is not None else ():
            with suppress(Exception):  # the call reports it
                self._warm_tool(tool)
            yield

    def _warm_tool(self, tool: Tool) -> None:
        bounded_tool(self.tools, Request(0, TOOL_CALL, {"name": tool.name}))
        if isinstance(tool.fn_metadata, BoundedMetadata):
            tool.fn_metadata.warm()

    def limited(self, request: Request) -> Request:
        """Return a request whose parameters keep the limits. Raises: LimitError."""
        return limit_params(request, counts_arguments=self._counts_arguments)

    async def initialize(self, exchange: Exchange, request: Request, options: InitializationOptions) -> Outcome:
        """Serve `initialize`. Raises: MCPError, ValidationError."""
        connection = Connection.for_loop(StandaloneChannel(exchange))
        runner = ServerRunner(self._server, connection, exchange.lifespan, init_options=options)
        return await self._run(runner, exchange, self.limited(request))

    async def serve(self, request: Request, version: str, exchange: Callable[[], Exchange]) -> Outcome:
        """Serve any other request. Raises: MCPError, ValidationError, and what handlers raise."""
        request = self.limited(request)
        bounded_tool(self.tools, request)
        return await self._run(self._runner(exchange()), exchange(), request)

    def can_drop(self, notification: Notification) -> bool:
        """Return whether a notification has no effect."""
        return False

    async def notify(self, exchange: Exchange, notification: Notification) -> None:
        """Run the handler of a notification, if it has one."""
        runner = self._runner(exchange)
        try:
            await runner.on_notify(exchange, notification.method, notification.params)
        finally:
            await self._close(runner.connection)

    def exception_result(self, name: str, version: str, failure: BaseException) -> dict[str, Any]:
        """Log an exception of a tool and build the error result; the text of an unexpected one is not sent."""
        note_failure(failure, self.exception_text)
        _log(name, failure)
        text = str(failure) if isinstance(failure, ToolError) else f"Error executing tool {name}"
        return self.error_result(version, text)

    def error_result(self, version: str, text: str) -> dict[str, Any]:
        """Build the result of a tool that failed."""
        return self._serialize(version, CallToolResult(content=[TextContent(type="text", text=text)], is_error=True))

    def _serialize(self, version: str, result: Any) -> dict[str, Any]:
        runner = ServerRunner(self._server, Connection.from_envelope(version, None, None), None)
        # Private: the SDK has no public function that serializes a result for a revision and adds `serverInfo`.
        return runner._serialize(TOOL_CALL, version, result)

    def _runner(self, exchange: Exchange) -> ServerRunner[Any]:
        """Build the SDK's runner for a client that has completed its handshake, or needs none."""
        client = exchange.client
        connection = Connection.from_envelope(
            client.protocol_version, client.client_info, client.capabilities, outbound=StandaloneChannel(exchange)
        )
        connection.session_id = client.session_id
        return ServerRunner(self._server, connection, exchange.lifespan)

    async def _run(self, runner: ServerRunner[Any], exchange: Exchange, request: Request) -> Outcome:
        try:
            return reject_unanswerable(exchange, await runner.on_request(exchange, request.method, request.params))
        finally:
            await self._close(runner.connection)

    async def _close(self, connection: Connection) -> None:
        """Run the exit callbacks that handlers registered."""
        await aclose_shielded(connection)


def _check_served_version(meta: Mapping[str, Any], headers: Headers, versions: Sequence[str]) -> None:
    """Refuse a revision that is not served before checking its headers: a future one may have others.

    Raises: ProtocolError with 400 / -32022.
    """
    version = meta.get(PROTOCOL_VERSION_META_KEY)
    is_consistent = isinstance(version, str) and headers.get("mcp-protocol-version") == version
    if is_consistent and CLIENT_CAPABILITIES_META_KEY in meta and version not in versions:
        data = {"supported": list(versions), "requested": quoted_version(version)}
        raise ProtocolError(400, UNSUPPORTED_VERSION, "Unsupported protocol version", data=data)


def _raise_rejection(verdict: object) -> None:
    if isinstance(verdict, InboundLadderRejection):
        raise ProtocolError(400, verdict.code, verdict.message, data=verdict.data)


def _log(name: str, error: BaseException) -> None:
    """Log a failure as the SDK does: a ToolError in one line, any other exception with its traceback."""
    extra = {"tool": name}
    if not isinstance(error, ToolError) or isinstance(error, UnexpectedToolError):
        logger.error("the tool %r raised an unexpected exception", name, exc_info=error, extra=extra)
    elif isinstance(error.__cause__, ValidationError):
        fields = sorted({str(place[0])[:64] for place in error_locations(error.__cause__) if place})
        logger.info("the tool %r was called with wrong arguments: %r", name, fields, extra=extra)
    else:
        logger.info("the tool %r failed: %r", name, truncate(str(error)), extra=extra)
