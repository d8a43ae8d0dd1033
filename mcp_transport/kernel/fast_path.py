"""Calls of tools that want their arguments and perhaps a context: the SDK's own steps, without what others need.

Session, connection, contexts and the models of request and result cost more than such a tool's call itself
(docs/adr/0020). Arguments, errors and conversion stay the SDK's; anything out of the ordinary goes its whole way.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, Final

import orjson
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.connection import Connection
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp.server.request_state import RequestStateBoundary
from mcp.server.runner import ServerRunner, _extract_meta
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolRequestParams, CallToolResult, InputRequiredResult, TextContent
from mcp_types.methods import validate_client_request
from pydantic import BaseModel, ValidationError, create_model

from mcp_transport.kernel.arguments import BoundedMetadata, bound
from mcp_transport.kernel.dispatch_context import Exchange
from mcp_transport.kernel.handlers import lowlevel
from mcp_transport.kernel.limits import bounded
from mcp_transport.kernel.parse_cache import remembered
from mcp_transport.kernel.validation_errors import places
from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.quoting import cut

__all__ = ["FastToolCalls", "passes_plain_calls"]

_Within = tuple[ServerRunner[Any], Exchange]
"""What a context is made of."""

_METHOD: Final = "tools/call"
_PLAIN: Final = frozenset({"name", "arguments", "_meta"})
_PASSING: Final = (OpenTelemetryMiddleware, RequestStateBoundary)

_SCALARS: Final = (str, int, bool)
_METADATA: Final = (FuncMetadata, BoundedMetadata)

# What two models differ in that are made of the same members.
_OF_ONE_MODEL: Final = ("cls", "ref", "metadata")


# What a tool is given that asks for no context.
_NO_CONTEXT: Final[Any] = None

logger = logging.getLogger(__name__)


class FastToolCalls:
    """Calls the tools of an `MCPServer` that take nothing that is resolved for them."""

    def __init__(self, server: Any) -> None:
        own = self._own = server if type(server) is MCPServer else None
        self._tools = own._tool_manager if own is not None else None
        self._handler: Any = own._handle_call_tool if own is not None else None
        self._lowlevel = lowlevel(server)
        self._envelope = lru_cache(self._make_envelope)

    def tool(self, request: Request) -> Tool | None:
        """Return the tool a request calls, if the SDK's whole way would make no difference."""
        params = request.params
        if request.method != _METHOD or self._tools is None:
            return None
        name = (params or {}).get("name")
        if not isinstance(name, str) or (tool := self._tools.get_tool(name)) is None:
            return None
        if type(tool.fn_metadata) is FuncMetadata:
            bound(tool)
        if type(tool).run is not Tool.run or tool.resolved_params or not _is_plain(params or {}):
            return None
        return None if self._is_changed() else tool

    def _is_changed(self) -> bool:
        """Tell whether a project has put something of its own around calls."""
        entry = self._lowlevel.get_request_handler(_METHOD)
        return (
            entry is None
            or entry.handler != self._handler
            or entry.params_type is not CallToolRequestParams
            or _METHOD in self._lowlevel.cache_hints
            or not all(map(passes_plain_calls, self._lowlevel.middleware))
        )

    async def call(
        self, tool: Tool, version: str, params: Mapping[str, Any], within: _Within | None = None
    ) -> dict[str, Any] | InputRequiredResult:
        """Call a tool that `tool` returned; return its result as it goes to the client, a question as it is.

        A tool that wants a context has to be told what it is called `within`.

        Raises: MCPError, ValidationError.
        """
        if "_meta" in params:
            _check_meta(version, params["_meta"])
        context = self._context(*within, version, params) if within is not None else _NO_CONTEXT
        try:
            returned = await tool.run(params.get("arguments") or {}, context)
            if (text := _scalar_text(tool, returned)) is not None:
                return self._wire(version, [{"type": "text", "text": text}], {"result": returned})
            result = _converted(tool, returned)
        except MCPError:
            raise
        except Exception as error:
            failure = error
        else:
            return self._answered(version, returned, result)
        # Not in the `except`: what fails in a handler of logging would have this, with its text, as its context.
        answer = self.failed(tool.name, version, failure)
        del failure  # its stack refers to this frame, and both to the arguments: only the collector would part them
        return answer

    def failed(self, name: str, version: str, failure: BaseException) -> dict[str, Any]:
        """Log what a tool has raised, and write the result that says so; a crash's text stays on the server."""
        _log(name, failure)
        text = str(failure) if isinstance(failure, ToolError) else f"Error executing tool {name}"
        return self.failure(version, text)

    def failure(self, version: str, text: str) -> dict[str, Any]:
        """Write the result of a tool that failed."""
        return self._serialize(version, CallToolResult(content=[TextContent(type="text", text=text)], is_error=True))

    def _answered(self, version: str, returned: Any, result: Any) -> dict[str, Any] | InputRequiredResult:
        """Write what a tool has returned, and what the SDK made of it."""
        if isinstance(returned, InputRequiredResult):
            return returned
        if isinstance(returned, CallToolResult):
            return self._serialize(version, returned)  # the tool's own, with whatever it put there
        return self._on_the_wire(version, result)

    def _context(
        self, runner: ServerRunner[Any], exchange: Exchange, version: str, params: Mapping[str, Any]
    ) -> Context[Any, Any]:
        """Build the context that the SDK's own handler gives to a tool."""
        assert self._own is not None, "only its tools are called plainly"  # noqa: S101
        return Context(
            request_context=runner._make_context(exchange, _METHOD, params, _extract_meta(params), version),
            mcp_server=self._own,
            input_params=CallToolRequestParams.model_validate(params, by_name=False),
            subscriptions=self._own._subscriptions,
        )

    def _on_the_wire(self, version: str, result: CallToolResult) -> dict[str, Any]:
        """Write a converted value as the SDK does; texts and an object need no look at the revision's schema."""
        texts, structured = [_plain_text(block) for block in result.content], result.structured_content
        if None in texts or not isinstance(structured, dict | NoneType):
            return self._serialize(version, result)
        return self._wire(version, texts, structured)

    def _wire(self, version: str, texts: Sequence[Any], structured: dict[str, Any] | None) -> dict[str, Any]:
        wire = {**self._envelope(version), "content": texts}
        if structured is None:
            wire.pop("structuredContent", None)
        elif "structuredContent" in wire:
            wire["structuredContent"] = structured
        return wire

    def _make_envelope(self, version: str) -> dict[str, Any]:
        """Return what of a result is the same each time at a revision: its members, and who serves it."""
        return self._serialize(version, CallToolResult(content=[], structured_content={}))

    def _serialize(self, version: str, result: Any) -> dict[str, Any]:
        runner = ServerRunner(self._lowlevel, Connection.from_envelope(version, None, None), None)
        return runner._serialize(_METHOD, version, result)


def _is_plain(params: Mapping[str, Any]) -> bool:
    """Tell whether parameters have nothing that only some calls have; what is wrong in them is the SDK's to say."""
    return (
        params.keys() <= _PLAIN
        and isinstance(params.get("arguments", params), dict)
        and isinstance(meta := params.get("_meta", params), dict)
        and meta.get("progressToken", "") is not None
    )


def _check_meta(version: str, meta: Mapping[str, Any]) -> None:
    """Check `_meta` as all requests are checked; but for its token, a client sends the same one each time.

    Raises: TooMuch, ValidationError.
    """
    if type(meta.get("progressToken")) in (str, int):
        meta = {name: value for name, value in meta.items() if name != "progressToken"}
    _check_words(version, meta)


@remembered
def _check_words(version: str, meta: Mapping[str, Any]) -> None:
    request = bounded(Request(0, _METHOD, {"name": "", "_meta": meta}))
    validate_client_request(_METHOD, version, request.params)


def _scalar_text(tool: Tool, returned: Any) -> str | None:
    """Return the text of a result that is of the very type its tool declares, and has no other form than its own."""
    kind, metadata = type(returned), tool.fn_metadata
    if kind not in _SCALARS or type(metadata) not in _METADATA or not metadata.wrap_output:
        return None
    if metadata.output_schema is None or _wrapped_scalar(metadata.output_model) is not kind:
        return None
    if kind is str:
        return returned if returned.isascii() else None  # half a character is no text, which is the SDK's to say
    return orjson.dumps(returned).decode() if -(2**63) <= returned < 2**63 else None


@lru_cache(maxsize=1024)
def _wrapped_scalar(model: Any) -> type | None:
    """Return the type of a model's one member, `result`, if nothing is asked of it but to be of that type."""
    if not isinstance(model, type) or model.__bases__ != (BaseModel,):
        return None
    for kind in _SCALARS:
        if _core_schema(model) == _core_schema(create_model(model.__name__, result=kind)):
            return kind
    return None


def _core_schema(model: Any) -> dict[str, Any]:
    """Return what decides how a model validates and serialises."""
    return {name: value for name, value in model.__pydantic_core_schema__.items() if name not in _OF_ONE_MODEL}


def _converted(tool: Tool, returned: Any) -> Any:
    try:
        return tool.fn_metadata.convert_result(returned)
    except ToolError as error:
        raise ToolError(f"Error executing tool {tool.name}: {error}") from error
    except Exception as error:
        raise UnexpectedToolError(f"Error executing tool {tool.name}") from error


def _plain_text(block: Any) -> dict[str, str] | None:
    if type(block) is not TextContent or block.annotations is not None or block.meta is not None:
        return None
    return {"type": "text", "text": block.text}


def passes_plain_calls(middleware: Any) -> bool:
    """Tell whether a middleware does nothing to an untraced call of a known tool that is answered with a result.

    It does nothing to `initialize` and to notifications either.
    """
    return type(middleware) in _PASSING or getattr(middleware, "passes_plain_calls", False)


def _log(name: str, error: BaseException) -> None:
    """Log a failure as the SDK does: what the tool meant to say in one line, a crash with its traceback."""
    about = {"tool": name}
    if not isinstance(error, ToolError) or isinstance(error, UnexpectedToolError):
        logger.error("the tool %r raised an unexpected exception", name, exc_info=error, extra=about)
    elif isinstance(error.__cause__, ValidationError):
        fields = sorted({str(place[0])[:64] for place in places(error.__cause__) if place})
        logger.info("the tool %r was called with wrong arguments: %r", name, fields, extra=about)
    else:
        logger.info("the tool %r failed: %r", name, cut(str(error)), extra=about)
