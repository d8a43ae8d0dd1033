"""The fast path of `tools/call`: the SDK's steps without the objects that simple tools do not need (docs/adr/0020).

Session, connection, contexts and the models of request and result cost more than the call of such a tool itself.
The SDK still validates arguments and converts results; any unusual call takes the SDK's full path.
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

from mcp_transport.kernel.arguments import BoundedMetadata, bound_validation
from mcp_transport.kernel.dispatch_context import Exchange
from mcp_transport.kernel.handlers import lowlevel
from mcp_transport.kernel.limits import limit_params
from mcp_transport.kernel.parse_cache import cached_by_json
from mcp_transport.kernel.validation_errors import error_locations
from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.quoting import truncate

__all__ = ["FastToolCalls", "allows_fast_path"]

_ContextSource = tuple[ServerRunner[Any], Exchange]
"""The runner and the exchange that a tool's context is built from."""

_METHOD: Final = "tools/call"
_SIMPLE_PARAMS: Final = frozenset({"name", "arguments", "_meta"})
_TRANSPARENT_MIDDLEWARE: Final = (OpenTelemetryMiddleware, RequestStateBoundary)

_SCALARS: Final = (str, int, bool)
_METADATA: Final = (FuncMetadata, BoundedMetadata)

# The keys of a core schema in which two models with the same fields differ.
_MODEL_IDENTITY: Final = ("cls", "ref", "metadata")

# Passed to tools without a context parameter.
_NO_CONTEXT: Final[Any] = None

logger = logging.getLogger(__name__)


class FastToolCalls:
    """Calls those tools of an `MCPServer` that have no resolved parameters."""

    def __init__(self, server: Any) -> None:
        # Not for a subclass, which may override calls. Both attributes are private: the registry of the full path,
        # and its handler, by which a replaced one is detected.
        own = self._own = server if type(server) is MCPServer else None
        self._tools = own._tool_manager if own is not None else None
        self._handler: Any = own._handle_call_tool if own is not None else None
        self._lowlevel = lowlevel(server)
        self._envelope = lru_cache(self._make_envelope)

    def tool(self, request: Request) -> Tool | None:
        """Return the tool that a request calls, if the SDK's full path would give the same result."""
        params = request.params
        if request.method != _METHOD or self._tools is None:
            return None
        name = (params or {}).get("name")
        if not isinstance(name, str) or (tool := self._tools.get_tool(name)) is None:
            return None
        if type(tool.fn_metadata) is FuncMetadata:
            bound_validation(tool)
        if type(tool).run is not Tool.run or tool.resolved_params or not _are_simple(params or {}):
            return None
        return None if self._is_customized() else tool

    def _is_customized(self) -> bool:
        """Return whether a project replaced or wrapped the handling of calls."""
        entry = self._lowlevel.get_request_handler(_METHOD)
        return (
            entry is None
            or entry.handler != self._handler
            or entry.params_type is not CallToolRequestParams
            or _METHOD in self._lowlevel.cache_hints
            or not all(map(allows_fast_path, self._lowlevel.middleware))
        )

    async def call(
        self, tool: Tool, version: str, params: Mapping[str, Any], source: _ContextSource | None = None
    ) -> dict[str, Any] | InputRequiredResult:
        """Call a tool that `tool` returned; return the serialized result, or an InputRequiredResult unchanged.

        A tool with a context parameter needs a `source` for it.

        Raises: MCPError, ValidationError.
        """
        if "_meta" in params:
            _check_meta(version, params["_meta"])
        context = self._context(*source, version, params) if source is not None else _NO_CONTEXT
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
            return self._converted_result(version, returned, result)
        # Outside the `except`: an exception in a logging handler would otherwise carry this one, with its text.
        wire = self.exception_result(tool.name, version, failure)
        del (
            failure
        )  # breaks the cycle of traceback and frame, which would keep the arguments until garbage collection
        return wire

    def exception_result(self, name: str, version: str, failure: BaseException) -> dict[str, Any]:
        """Log an exception of a tool and build the error result; the text of an unexpected one is not sent."""
        _log(name, failure)
        text = str(failure) if isinstance(failure, ToolError) else f"Error executing tool {name}"
        return self.error_result(version, text)

    def error_result(self, version: str, text: str) -> dict[str, Any]:
        """Build the result of a tool that failed."""
        return self._serialize(version, CallToolResult(content=[TextContent(type="text", text=text)], is_error=True))

    def _converted_result(self, version: str, returned: Any, result: Any) -> dict[str, Any] | InputRequiredResult:
        """Serialize a tool's return value, which the SDK converted to `result`."""
        if isinstance(returned, InputRequiredResult):
            return returned
        if isinstance(returned, CallToolResult):
            return self._serialize(version, returned)  # may hold anything, so it takes the SDK's serialization
        return self._fast_serialize(version, result)

    def _context(
        self, runner: ServerRunner[Any], exchange: Exchange, version: str, params: Mapping[str, Any]
    ) -> Context[Any, Any]:
        """Build the context that the SDK's own handler passes to a tool."""
        assert self._own is not None, "the fast path serves only an MCPServer"  # noqa: S101
        return Context(  # private seams: `_handle_call_tool` builds its context from the same parts
            request_context=runner._make_context(exchange, _METHOD, params, _extract_meta(params), version),
            mcp_server=self._own,
            input_params=CallToolRequestParams.model_validate(params, by_name=False),
            subscriptions=self._own._subscriptions,
        )

    def _fast_serialize(self, version: str, result: CallToolResult) -> dict[str, Any]:
        """Serialize a converted result as the SDK does, without validation where it holds only text and an object."""
        texts, structured = [_text_block(block) for block in result.content], result.structured_content
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
        """Return the members of a result that are the same for every call at a revision."""
        return self._serialize(version, CallToolResult(content=[], structured_content={}))

    def _serialize(self, version: str, result: Any) -> dict[str, Any]:
        runner = ServerRunner(self._lowlevel, Connection.from_envelope(version, None, None), None)
        # Private: the SDK has no public function that serializes a result for a revision and adds `serverInfo`.
        return runner._serialize(_METHOD, version, result)


def _are_simple(params: Mapping[str, Any]) -> bool:
    """Return whether parameters have the usual members only; the SDK reports errors in all others."""
    return (
        params.keys() <= _SIMPLE_PARAMS
        and isinstance(params.get("arguments", params), dict)
        and isinstance(meta := params.get("_meta", params), dict)
        and meta.get("progressToken", "") is not None
    )


def _check_meta(version: str, meta: Mapping[str, Any]) -> None:
    """Validate `_meta`, cached without its progress token: a client otherwise sends the same one each time.

    Raises: LimitError, ValidationError.
    """
    if type(meta.get("progressToken")) in (str, int):
        meta = {name: value for name, value in meta.items() if name != "progressToken"}
    _check_cached_meta(version, meta)


@cached_by_json
def _check_cached_meta(version: str, meta: Mapping[str, Any]) -> None:
    request = limit_params(Request(0, _METHOD, {"name": "", "_meta": meta}))
    validate_client_request(_METHOD, version, request.params)


def _scalar_text(tool: Tool, returned: Any) -> str | None:
    """Return the text of a scalar result whose type is exactly the declared one; None if conversion is needed."""
    kind, metadata = type(returned), tool.fn_metadata
    if kind not in _SCALARS or type(metadata) not in _METADATA or not metadata.wrap_output:
        return None
    if metadata.output_schema is None or _wrapped_scalar(metadata.output_model) is not kind:
        return None
    if kind is str:
        return returned if returned.isascii() else None  # the SDK reports lone surrogates
    return orjson.dumps(returned).decode() if -(2**63) <= returned < 2**63 else None


@lru_cache(maxsize=1024)
def _wrapped_scalar(model: Any) -> type | None:
    """Return the type of a model's only field, `result`, if it has no constraints or custom serialization."""
    if not isinstance(model, type) or model.__bases__ != (BaseModel,):
        return None
    for kind in _SCALARS:
        if _core_schema(model) == _core_schema(create_model(model.__name__, result=kind)):
            return kind
    return None


def _core_schema(model: Any) -> dict[str, Any]:
    """Return the part of a model's core schema that decides how it validates and serializes."""
    return {name: value for name, value in model.__pydantic_core_schema__.items() if name not in _MODEL_IDENTITY}


def _converted(tool: Tool, returned: Any) -> Any:
    try:
        return tool.fn_metadata.convert_result(returned)
    except ToolError as error:
        raise ToolError(f"Error executing tool {tool.name}: {error}") from error
    except Exception as error:
        raise UnexpectedToolError(f"Error executing tool {tool.name}") from error


def _text_block(block: Any) -> dict[str, str] | None:
    if type(block) is not TextContent or block.annotations is not None or block.meta is not None:
        return None
    return {"type": "text", "text": block.text}


def allows_fast_path(middleware: Any) -> bool:
    """Return whether a middleware has no effect on an untraced, successful call of an existing tool.

    Such a middleware has no effect on `initialize` and notifications either.
    """
    return type(middleware) in _TRANSPARENT_MIDDLEWARE or getattr(middleware, "allows_fast_path", False)


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
