"""The fast path: the SDK's steps without the objects and checks that usual messages do not need.

Session, connection, contexts and the models of request and result cost more than the call of a simple tool itself.
Whatever is unusual takes the SDK's own way.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import NoneType
from typing import Any, Final

import orjson
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary
from mcp.server.runner import ServerRunner, _extract_meta
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import NAME_BEARING_METHODS, find_invalid_x_mcp_header, x_mcp_header_map
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    TextContent,
)
from pydantic import BaseModel, create_model

from mcp_transport.kernel.arguments import BoundedMetadata, bounded_tool, short_json
from mcp_transport.kernel.dispatch_context import Exchange, StandaloneChannel
from mcp_transport.kernel.fast_path.cache import check_meta, parse_client
from mcp_transport.kernel.sdk_path import TOOL_CALL, SDKPath
from mcp_transport.kernel.tracing import LinkedSpans, in_sdk_span, is_traced, link_spans
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.jsonrpc import Notification, Outcome, Request

__all__ = ["FastPath"]

# Outcomes of `initialize`: more than there are kinds of clients.
_MAX_INITIALIZED: Final = 256

_SIMPLE_PARAMS: Final = frozenset({"name", "arguments", "_meta"})
_TRANSPARENT_MIDDLEWARE: Final = (LinkedSpans, RequestStateBoundary)

# Notifications without parameters.
_WITHOUT_PARAMS: Final = ("notifications/initialized", "notifications/roots/list_changed")

# The prefix of a header value that may be base64 (2026-07-28, streamable-http, custom headers).
_ENCODED_PREFIX: Final = "=?"

_SCALARS: Final = (str, int, bool)
_METADATA: Final = (FuncMetadata, BoundedMetadata)

# The keys of a core schema in which two models with the same fields differ.
_MODEL_IDENTITY: Final = ("cls", "ref", "metadata")


class FastPath(SDKPath):
    """Takes a shortcut where the SDK's own way would give the same result, and that way everywhere else."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        # Not for a subclass, which may override calls. The handler is private: by it, a replaced one is detected.
        self._own: Any = server if type(server) is MCPServer else None
        self._handler = self._own._handle_call_tool if self._own is not None else None
        self._envelope = lru_cache(self._make_envelope)
        self._options: InitializationOptions | None = None
        self._initialized: dict[bytes, Outcome] = {}
        self._annotated: dict[str, tuple[Any, bool]] = {}

    def warm(self, versions: Sequence[str]) -> Iterator[None]:
        """Build what the first call of each tool, and at each revision, would build; yield after each."""
        yield from super().warm(versions)
        for version in versions:
            self._envelope(version)
            yield

    def _warm_tool(self, tool: Tool) -> None:
        super()._warm_tool(tool)
        _wrapped_scalar(tool.fn_metadata.output_model)

    def check_envelope(self, request: Request, headers: Headers, versions: Sequence[str]) -> None:
        """Accept headers and body that match literally; the SDK checks everything else, at a higher cost."""
        if not _headers_match(request, headers, versions):
            super().check_envelope(request, headers, versions)

    def check_param_headers(self, name: str, schema: Any, arguments: Mapping[str, Any], headers: Headers) -> None:
        """Check the headers of a tool whose schema has annotations; that is cached per schema object."""
        cached = self._annotated.get(name)
        if cached is None or cached[0] is not schema:
            is_annotated = find_invalid_x_mcp_header(schema) is None and bool(x_mcp_header_map(schema))
            cached = self._annotated[name] = (schema, is_annotated)
        if cached[1]:
            super().check_param_headers(name, schema, arguments, headers)

    async def initialize(self, exchange: Exchange, request: Request, options: InitializationOptions) -> Outcome:
        """Serve `initialize`; outcomes that no middleware or span observes are cached until `options` change."""
        if options != self._options:
            self._options, self._initialized = options, {}
        outcomes, key = self._initialized, short_json(request.params)
        if key is None or is_traced(exchange.meta) or self._has_custom_middleware():
            return await super().initialize(exchange, request, options)
        if key not in outcomes:
            outcome = await super().initialize(exchange, request, options)
            if len(outcomes) >= _MAX_INITIALIZED:
                outcomes.clear()
            outcomes[key] = outcome
        return outcomes[key]

    def can_drop(self, notification: Notification) -> bool:
        """Return whether no handler, middleware or span observes a notification, nor the log, if it is invalid."""
        return not (
            notification.params
            or notification.method not in _WITHOUT_PARAMS
            or self._server.get_notification_handler(notification.method) is not None
            or self._has_custom_middleware()
            or is_traced(None)
        )

    def serve(self, request: Request, version: str, exchange: Callable[[], Exchange]) -> Coroutine[Any, Any, Outcome]:
        """Call a tool directly if `fast_tool` returns it."""
        if (tool := self.fast_tool(request)) is None:
            return super().serve(request, version, exchange)
        work = self._call(tool, request, version, exchange)
        if not is_traced(request.meta):
            return work
        return in_sdk_span(self._server.middleware, request, version, work, exchange)

    def fast_tool(self, request: Request) -> Tool | None:
        """Return the tool that a request calls, if it has no resolved parameters and no project changed its call."""
        if self._own is None or (tool := bounded_tool(self.tools, request)) is None:
            return None
        if type(tool).run is not Tool.run or tool.resolved_params or not _are_simple(request.params or {}):
            return None
        return None if self._is_customized() else tool

    def _is_customized(self) -> bool:
        """Return whether a project replaced or wrapped the handling of calls."""
        entry = self._server.get_request_handler(TOOL_CALL)
        return (
            entry is None
            or entry.handler != self._handler
            or entry.params_type is not CallToolRequestParams
            or TOOL_CALL in self._server.cache_hints
            or self._has_custom_middleware()
        )

    def _has_custom_middleware(self) -> bool:
        if all(map(_allows_fast_path, self._server.middleware)):
            return False
        # A project may add the SDK's tracing middleware after the kernel was built.
        return not (link_spans(self._server) and all(map(_allows_fast_path, self._server.middleware)))

    async def _call(self, tool: Tool, request: Request, version: str, exchange: Callable[[], Exchange]) -> Outcome:
        params, runner = request.params or {}, None
        try:
            if "_meta" in params:
                check_meta(version, params["_meta"])
            if tool.context_kwarg is not None:
                runner = self._runner(exchange())
            context = runner and self._context(runner, exchange(), version, params)
            result = await self._result(tool, version, params.get("arguments") or {}, context)
        finally:
            if runner is not None:
                await self._close(runner.connection)
        if isinstance(result, dict):
            return Outcome(result=result)
        # An InputRequiredResult must pass the middleware that seals its `requestState`; the call has its span.
        final = _Runner(self._server, self._connection(exchange()), exchange().lifespan, traced=False, result=result)
        return await self._run(final, exchange(), self.limited(request))

    async def _result(
        self, tool: Tool, version: str, arguments: dict[str, Any], context: Any
    ) -> dict[str, Any] | InputRequiredResult:
        """Call a tool; return the serialized result, or an InputRequiredResult unchanged. Raises: MCPError."""
        try:
            returned = await tool.run(arguments, context)
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
        del failure  # breaks a cycle of traceback and frame, which would keep the arguments until garbage collection
        return wire

    def _converted_result(self, version: str, returned: Any, result: Any) -> dict[str, Any] | InputRequiredResult:
        """Serialize a return value that the SDK converted to `result`; text and objects need no validation."""
        if isinstance(returned, InputRequiredResult):
            return returned
        if isinstance(returned, CallToolResult):
            return self._serialize(version, returned)  # may hold anything
        texts, structured = [_text_block(block) for block in result.content], result.structured_content
        if None in texts or not isinstance(structured, dict | NoneType):
            return self._serialize(version, result)
        return self._wire(version, texts, structured)

    def _context(
        self, runner: ServerRunner[Any], exchange: Exchange, version: str, params: Mapping[str, Any]
    ) -> Context[Any, Any]:
        """Build the context that the SDK's own handler passes to a tool."""
        return Context(  # private seams: `_handle_call_tool` builds its context from the same parts
            request_context=runner._make_context(exchange, TOOL_CALL, params, _extract_meta(params), version),
            mcp_server=self._own,
            input_params=CallToolRequestParams.model_validate(params, by_name=False),
            subscriptions=self._own._subscriptions,
        )

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

    def _runner(self, exchange: Exchange) -> ServerRunner[Any]:
        connection, traced = self._connection(exchange), is_traced(exchange.meta)
        return _Runner(self._server, connection, exchange.lifespan, traced=traced)

    def _connection(self, exchange: Exchange) -> Connection:
        client = exchange.client
        version, channel = client.protocol_version, StandaloneChannel(exchange)
        connection = Connection(channel, protocol_version=version, session_id=client.session_id)
        described = parse_client(version, [client.client_info, client.capabilities])
        connection.client_params, connection.client_capabilities = described
        connection.initialized.set()
        return connection

    async def _close(self, connection: Connection) -> None:
        """Run exit callbacks; most handlers register none, and an empty stack is slow to close."""
        if connection.exit_stack._exit_callbacks:  # type: ignore[attr-defined]
            await super()._close(connection)


@dataclass
class _Runner(ServerRunner[Any]):
    """The SDK's runner; it creates spans only where they are recorded."""

    traced: bool = True
    result: InputRequiredResult | None = None
    """The result of a handler that ran already; only the middleware is still to run."""

    def _compose_server_middleware(self, inner: CallNext) -> CallNext:  # overrides a private method of the SDK
        call = inner if self.result is None else self._serialize_result
        for middleware in reversed(self.server.middleware):
            # Not isinstance, which is slow for a subclass of a Protocol.
            if self.traced or type(middleware) is not LinkedSpans:
                call = partial(middleware, call_next=call)
        return call

    async def _serialize_result(self, ctx: ServerRequestContext[Any, Any]) -> HandlerResult:
        return self._serialize(ctx.method, ctx.protocol_version, self.result)


def _headers_match(request: Request, headers: Headers, versions: Sequence[str]) -> bool:
    """Return whether headers and body match literally."""
    meta, params = request.meta, request.params or {}
    name = params.get(NAME_BEARING_METHODS.get(request.method, ""))
    return (
        meta.get(PROTOCOL_VERSION_META_KEY) in versions
        and CLIENT_CAPABILITIES_META_KEY in meta
        and headers.get("mcp-protocol-version") == meta[PROTOCOL_VERSION_META_KEY]
        and headers.get("mcp-method") == request.method
        and (name is None or (headers.get("mcp-name") == name and not name.startswith(_ENCODED_PREFIX)))
    )


def _allows_fast_path(middleware: Any) -> bool:
    """Return whether a middleware has no effect on an untraced, successful call of an existing tool.

    Such a middleware has no effect on `initialize` and notifications either.
    """
    return type(middleware) in _TRANSPARENT_MIDDLEWARE or getattr(middleware, "allows_fast_path", False)


def _are_simple(params: Mapping[str, Any]) -> bool:
    """Return whether parameters have the usual members only; the SDK reports errors in all others."""
    return (
        params.keys() <= _SIMPLE_PARAMS
        and isinstance(params.get("arguments", params), dict)
        and isinstance(meta := params.get("_meta", params), dict)
        and meta.get("progressToken", "") is not None
    )


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
