"""Handlers and middleware that this package adds to an SDK server, and helpers for handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeVar

from mcp.server.connection import allowed_log_levels
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CompleteRequestParams,
    Completion,
    DiscoverResult,
    EmptyResult,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    RequestParams,
    ServerRequest,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel

from mcp_transport.kernel.failures import NotFound
from mcp_transport.kernel.text_arguments import prompt_fault, variables_fault
from mcp_transport.kernel.visibility import is_hidden
from mcp_transport.protocol.errors import INVALID_PARAMS, RESOURCE_NOT_FOUND
from mcp_transport.protocol.versions import REVISIONS

__all__ = [
    "apply_spec_corrections",
    "convert_context",
    "declare_in_discover",
    "lowlevel",
    "register_session_handlers",
    "request_client",
    "send_log",
    "serve_completions",
]

_COMPLETE: Final = "completion/complete"
_MAX_COMPLETION_VALUES: Final = 100

# The `completion/complete` request that is being served.
_completion_request: ContextVar[ServerRequestContext[Any, Any]] = ContextVar("completion_request")

_ModelT = TypeVar("_ModelT", bound=BaseModel)
_ContextT = TypeVar("_ContextT", bound="SDKContext[Any, Any]")


def register_session_handlers(server: MCPServer[Any]) -> None:
    """Register the handlers that only sessions have (2025 revisions): log level and resource subscriptions."""
    target = lowlevel(server)

    async def set_level(ctx: Any, params: SetLevelRequestParams) -> EmptyResult:
        await ctx.request.own_session.set_log_level(params.level)
        return EmptyResult()

    target.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
    target.add_request_handler("resources/subscribe", SubscribeRequestParams, partial(_subscribe, active=True))
    target.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, partial(_subscribe, active=False))


async def _subscribe(ctx: Any, params: Any, *, active: bool) -> EmptyResult:
    try:
        await ctx.request.own_session.subscribe(str(params.uri), active=active)
    except ValueError as error:
        raise MCPError(INVALID_PARAMS, str(error)) from None
    return EmptyResult()


def serve_completions(server: MCPServer[Any], function: Callable[..., Awaitable[Completion | None]]) -> None:
    """Register a completion function of `ref`, `argument`, `context` and the request's context.

    The SDK's decorator does not pass the last one, so a handler around it stores the request in a context variable.
    """
    target = lowlevel(server)

    async def complete(ref: Any, argument: Any, context: Any) -> Completion | None:
        request = SDKContext(request_context=_completion_request.get(), mcp_server=server)
        return _first_values(await function(ref, argument, context, request))

    server.completion()(complete)  # type: ignore[no-untyped-call]
    entry = target.get_request_handler(_COMPLETE)
    assert entry is not None, "the decorator registers it"  # noqa: S101

    async def handle(ctx: ServerRequestContext[Any, Any], params: CompleteRequestParams) -> HandlerResult:
        _completion_request.set(ctx)
        return await entry.handler(ctx, params)

    target.add_request_handler(_COMPLETE, CompleteRequestParams, handle)


def _first_values(completion: Completion | None) -> Completion | None:
    """Cut a completion to 100 values and set its total (2025-11-25, server/utilities/completion)."""
    if not isinstance(completion, Completion) or len(completion.values) <= _MAX_COMPLETION_VALUES:
        return completion
    total = completion.total if completion.total is not None else len(completion.values)
    first = {"values": completion.values[:_MAX_COMPLETION_VALUES], "total": total, "has_more": True}
    return completion.model_copy(update=first)


def apply_spec_corrections(server: MCPServer[Any]) -> None:
    """Correct the responses in which the SDK deviates from the specification, in one middleware."""
    lists = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
    rules: dict[str, ServerMiddleware[Any]] = {
        "tools/call": _refuse_unknown_tools(server),
        "prompts/get": _refuse_unknown_prompts(server),
        "resources/read": _name_missing_resources(server),
        **dict.fromkeys(lists, _refuse_cursors),
    }

    async def correct(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        rule = rules.get(ctx.method)
        return await (call_next(ctx) if rule is None else rule(ctx, call_next))

    correct.allows_fast_path = True  # type: ignore[attr-defined]
    lowlevel(server).middleware.append(correct)


def _refuse_unknown_tools(server: MCPServer[Any]) -> ServerMiddleware[Any]:
    """Answer a call of an unknown tool with -32602 (2025-06-18, server/tools, "Error Handling").

    The SDK answers with a tool result, which a model takes for the tool's own output.
    """
    target = lowlevel(server)

    async def refuse(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        name = (ctx.params or {}).get("name")
        find_schema = target.get_tool_input_schema
        if isinstance(name, str) and find_schema is not None and find_schema(name) is None:
            raise NotFound(INVALID_PARAMS, f"Unknown tool: {name[:128]}")
        return await call_next(ctx)

    return refuse


def _refuse_unknown_prompts(server: MCPServer[Any]) -> ServerMiddleware[Any]:
    """Answer an unknown prompt, and invalid arguments of a prompt, with -32602 (server/prompts).

    The SDK treats both as a failure of the server.
    """

    async def refuse(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        params = ctx.params or {}
        name, arguments = params.get("name"), params.get("arguments") or {}
        if isinstance(name, str):
            prompt = server._prompt_manager.get_prompt(name)  # the public `get_prompt` would render it
            if prompt is None:
                raise NotFound(INVALID_PARAMS, f"Unknown prompt: {name[:128]}")
            if isinstance(arguments, Mapping) and (fault := prompt_fault(prompt, arguments)):
                raise MCPError(INVALID_PARAMS, f"Prompt {name[:128]} {fault}")
        return await call_next(ctx)

    return refuse


async def _refuse_cursors(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Answer a cursor with -32602: these lists have one page, so the server never issued one."""
    if (ctx.params or {}).get("cursor"):
        raise MCPError(INVALID_PARAMS, "Invalid cursor: this list has one page")
    return await call_next(ctx)


def _name_missing_resources(server: MCPServer[Any]) -> ServerMiddleware[Any]:
    """Answer a missing resource in a session with -32002 (2025-11-25, server/resources, "Error Handling").

    The SDK uses the code of 2026-07-28 in all revisions, and treats a variable of a wrong type as an internal error.
    """

    async def name(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        uri = (ctx.params or {}).get("uri")
        try:
            if isinstance(uri, str) and not is_hidden("resource", uri) and variables_fault(server, uri):
                raise NotFound(INVALID_PARAMS, f"Unknown resource: {uri}", {"uri": uri})
            return await call_next(ctx)
        except MCPError as error:
            missing = error.code == INVALID_PARAMS and isinstance(error.data, dict) and "uri" in error.data
            if missing and REVISIONS[ctx.protocol_version].sessionful:
                raise NotFound(RESOURCE_NOT_FOUND, error.message, error.data) from None
            raise

    return name


def declare_in_discover(server: Server[Any], experimental: Mapping[str, dict[str, Any]]) -> None:
    """Add experimental capabilities to the result of `server/discover`: the SDK's handler has no way to."""
    entry = server.get_request_handler("server/discover")
    if entry is not None:
        handler = entry.handler.handler if isinstance(entry.handler, _Discover) else entry.handler
        server.add_request_handler("server/discover", RequestParams, _Discover(handler, experimental))


class _Discover:
    def __init__(self, handler: Any, experimental: Mapping[str, dict[str, Any]]) -> None:
        self.handler, self._experimental = handler, experimental

    async def __call__(self, context: Any, params: RequestParams) -> Any:
        result = await self.handler(context, params)
        if isinstance(result, DiscoverResult):
            result.capabilities.experimental = {**(result.capabilities.experimental or {}), **self._experimental}
        return result


async def send_log(context: SDKContext[Any, Any], level: str, data: Any, logger_name: str | None) -> None:
    """Send notifications/message on the request's stream, if the client enabled that level.

    The SDK's own methods emit a DeprecationWarning per call; the rule is the same (2026-07-28, server/utilities).
    """
    request = context.request_context
    if level not in allowed_log_levels(request.protocol_version, request.meta):
        return
    params = LoggingMessageNotificationParams.model_validate({"level": level, "data": data, "logger": logger_name})
    await request.session.send_notification(LoggingMessageNotification(params=params), request.request_id)


async def request_client(context: SDKContext[Any, Any], request: ServerRequest, result: type[_ModelT]) -> _ModelT:
    """Send a request to the client on the stream of the request being served; return its validated result."""
    related = ServerMessageMetadata(related_request_id=context.request_context.request_id)
    return await context.request_context.session.send_request(request, result, metadata=related)


def convert_context(context: SDKContext[Any, Any], kind: type[_ContextT]) -> _ContextT:
    """Build a context of another class for the same request."""
    return kind(  # from private attributes: the SDK's Context cannot be copied
        request_context=context._request_context,
        mcp_server=context._mcp_server,
        input_params=context._input_params,
        subscriptions=context._subscriptions,
    )


def lowlevel(server: Any) -> Server[Any]:
    """Return the SDK server inside an `MCPServer` or a FastMCP 4 server. Raises: TypeError for anything else."""
    for attribute in ("_lowlevel_server", "_mcp_server"):  # private, of MCPServer and of FastMCP 4
        server = getattr(server, attribute, server)
    if not isinstance(server, Server):
        kind = type(server).__name__
        raise TypeError(f"expected an MCPServer, a low-level Server or a FastMCP 4 server, got {kind}")
    return server
