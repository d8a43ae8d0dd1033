"""Serve single requests with an SDK server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any, Final

from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types import SubscriptionsListenRequestParams
from mcp_types.methods import SPEC_CLIENT_METHODS, SPEC_CLIENT_NOTIFICATION_METHODS
from pydantic import ValidationError

from mcp_transport.domain.circuit_breaker import CircuitBreaker
from mcp_transport.kernel.arguments import called_tool
from mcp_transport.kernel.dispatch_context import Exchange
from mcp_transport.kernel.errors import Refused, TooLarge, is_cancellation
from mcp_transport.kernel.events import EventBus, ListenHandlers
from mcp_transport.kernel.failures import ExceptionText, note_failure
from mcp_transport.kernel.fast_path.path import FastPath
from mcp_transport.kernel.handlers import declare_in_discover, lowlevel
from mcp_transport.kernel.lifespan import Lifespan
from mcp_transport.kernel.limits import LimitError
from mcp_transport.kernel.otel_metrics import OperationMetrics
from mcp_transport.kernel.sdk_path import TOOL_CALL, SDKPath
from mcp_transport.kernel.types import CallLimits, ClientInfo, RetrySafety
from mcp_transport.kernel.validation_errors import explain, truncate_uri
from mcp_transport.kernel.visibility import Visibility, hiding
from mcp_transport.protocol.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    sessionless_code,
)
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.jsonrpc import Message, Notification, Outcome, Request
from mcp_transport.protocol.targets import request_target
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["Kernel"]

# Pages of a server's tool list that are read; a list without an end must not block the client.
_MAX_PAGES: Final = 100

# The kind of thing that `params.name` names, by method.
_KINDS: Final = {TOOL_CALL: "tool", "prompts/get": "prompt"}

_NO_LIMITS: Final = CallLimits()

logger = logging.getLogger(__name__)


class Kernel:
    """Serves single requests with an `MCPServer`, a low-level `Server` or a FastMCP 4 server.

    `fast=False` serves every message the SDK's own way, without the shortcuts of `FastPath`. `broadcasts=False`
    leaves the server's events to the kernel that took them over before.
    """

    def __init__(self, server: Any, *, fast: bool = True, broadcasts: bool = True) -> None:
        self.server, self._declared = lowlevel(server), server
        self.durations = OperationMetrics(self.has_tool)
        self._path: SDKPath = FastPath(server) if fast else SDKPath(server)
        self.bus = EventBus()
        self._experimental: dict[str, dict[str, Any]] | None = None
        self.listen_handlers = ListenHandlers(self.bus)
        if broadcasts and isinstance(server, MCPServer):
            self._take_over_subscriptions(server)

    def _take_over_subscriptions(self, server: MCPServer[Any]) -> None:
        """Connect `ctx.notify_*` and `subscriptions/listen` to the event bus, which reaches every node."""
        server._subscriptions = self.bus  # private: the constructor takes a bus, but the server exists already
        method, params = "subscriptions/listen", SubscriptionsListenRequestParams
        entry = self.server.get_request_handler(method)
        if entry is not None and isinstance(entry.handler, ListenHandler | ListenHandlers):
            self.server.add_request_handler(method, params, self.listen_handlers)

    def declare_experimental(self, experimental: dict[str, dict[str, Any]]) -> None:
        """Declare experimental capabilities in results of `initialize` and `server/discover`."""
        self._experimental = experimental or None
        declare_in_discover(self.server, experimental)

    def show_exception_texts(self, text: ExceptionText) -> None:
        """Keep the texts of handlers' exceptions, as far as `text` returns them, for operators."""
        self._path.exception_text = text

    def visibility(self) -> Visibility:
        """Return the means to hide names of the server. Raises: TypeError unless it is an `MCPServer`."""
        return Visibility(self._declared)

    def warm(self, versions: Sequence[str]) -> Iterator[None]:
        """Build what the first calls at these revisions would build, one piece for each step of the iterator."""
        return self._path.warm(versions)

    # -- lifespan ------------------------------------------------------------------------------------

    async def enter_lifespan(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        context: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> Lifespan:
        """Enter the server's lifespan on the running loop; `context` surrounds its start-up and its shutdown."""
        lifespan = Lifespan(self.server, context)
        lifespan.task = spawn(lifespan.run())
        await lifespan.entered
        return lifespan

    def close_listen_streams(self) -> None:
        """End every listen stream of the running loop with its final result."""
        self.listen_handlers.close()

    # -- the envelope and the headers of 2026-07-28 ---------------------------------------------------

    def open_envelope(self, request: Request, headers: Headers, versions: Sequence[str]) -> ClientInfo:
        """Check the envelope and headers of a sessionless request; return the client's information.

        Raises:
            ProtocolError: 400 with -32602, -32020 or -32022 (2026-07-28, basic and streamable-http).
        """
        self._path.check_envelope(request, headers, versions)
        return ClientInfo.from_meta(request.meta)

    async def check_param_headers(
        self, request: Request, headers: Headers, version: str, exchange: Callable[[], Exchange]
    ) -> None:
        """Compare a tool call's Mcp-Param-* headers with its arguments; `exchange` is as for `serve`.

        Raises:
            ProtocolError: 400 / -32020 (2026-07-28, streamable-http, "Custom headers").
        """
        params = request.params or {}
        name, arguments = params.get("name"), params.get("arguments") or {}
        if request.method != TOOL_CALL or not isinstance(name, str) or not isinstance(arguments, dict):
            return
        # Of a hidden tool, an error in the headers would reveal that it exists.
        if request.hidden or not (arguments or any(header.startswith("mcp-param-") for header in headers)):
            return
        schema = await self._input_schema(name, version, exchange)
        if schema is not None:
            self._path.check_param_headers(name, schema, arguments, headers)

    async def _input_schema(self, name: str, version: str, exchange: Callable[[], Exchange]) -> Any:
        """Look up a tool's schema; on a server without such a lookup, search its tool list."""
        if self.server.get_tool_input_schema is not None:
            return self.server.get_tool_input_schema(name)
        cursor, listing = None, replace(exchange(), progress_token=None)
        for _ in range(_MAX_PAGES):
            params = {"_meta": listing.meta or {}, **({"cursor": cursor} if cursor else {})}
            outcome = await self.serve(Request(0, "tools/list", params), version, lambda: listing)
            tools = (outcome.result or {}).get("tools", [])
            if schemas := [tool["inputSchema"] for tool in tools if tool["name"] == name]:
                return schemas[0]
            cursor = (outcome.result or {}).get("nextCursor")
            if not cursor:
                break
        return None

    def retry_safety(self, request: Request) -> RetrySafety:
        """Return whether a request may run twice; for a tool, by its hints (2025-06-18, ToolAnnotations)."""
        if request.method != TOOL_CALL:
            return RetrySafety(safe=True)
        tool = called_tool(self._path.tools, request)
        if tool is None or request.hidden:
            return RetrySafety(safe=False)
        hints = tool.annotations
        safe = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
        durable = getattr(tool, "durable", False)
        return RetrySafety(safe or durable, durable)

    def limits(self, request: Request) -> CallLimits:
        """Return the limits of the tool that a request calls."""
        tool = called_tool(self._path.tools, request)
        # Not getattr, which is slow for a tool that has none: pydantic then builds an error.
        return _NO_LIMITS if tool is None else tool.__dict__.get("limits", _NO_LIMITS)

    def has_method(self, method: str) -> bool:
        """Return whether a method is one of the protocol, or the server has a handler for it."""
        is_in_protocol = method in SPEC_CLIENT_METHODS or method in SPEC_CLIENT_NOTIFICATION_METHODS
        server = self.server
        return is_in_protocol or bool(server.get_request_handler(method) or server.get_notification_handler(method))

    def has_tool(self, name: str) -> bool:
        """Return whether the server has a tool; False if it is a server whose tools cannot be looked up."""
        tools = self._path.tools
        return tools is not None and tools.get_tool(name) is not None

    def circuit_breaker(self, tool: str) -> CircuitBreaker | None:
        """Return the circuit breaker that a tool declares, if it exists and declares one."""
        return self.limits(Request(0, TOOL_CALL, {"name": tool})).circuit_breaker

    def tool_name(self, message: Message) -> str | None:
        """Return the name of the tool that a message calls; None if there is none, or its caller may not use it."""
        if not isinstance(message, Request) or message.method != TOOL_CALL or message.hidden:
            return None
        tool = called_tool(self._path.tools, message)
        return tool.name if tool is not None else None

    # -- one message ---------------------------------------------------------------------------------

    async def initialize(self, exchange: Exchange, params: Mapping[str, Any]) -> Outcome:
        """Serve `initialize`; an outcome with a result implies valid `params`."""
        options = self.server.create_initialization_options(NotificationOptions(True, True, True), self._experimental)
        request = Request(0, "initialize", params)
        work = self._path.initialize(exchange, request, options)
        return await self._outcome(request, exchange.client.protocol_version, work)

    async def serve(self, request: Request, version: str, exchange: Callable[[], Exchange]) -> Outcome:
        """Run the handler of one request to its end.

        `exchange` returns the request's one Exchange, built on the first call: not every tool needs it.
        """
        if not REVISIONS[version].sessionful and self.server.get_request_handler(request.method) is None:
            # Before its parameters are validated (2026-07-28, streamable-http: 404).
            return Outcome(error={"code": METHOD_NOT_FOUND, "message": "Method not found", "data": request.method})
        if not request.hidden:
            return await self._outcome(request, version, self._path.serve(request, version, exchange))
        with hiding(request_target(request)):
            return await self._outcome(request, version, self._path.serve(request, version, exchange))

    def has_listener(self, message: Notification) -> bool:
        """Return whether a notification has any effect: on a handler, a middleware or, if it is invalid, the log.

        A request method sent without an id has none: it gets no response, and a middleware could reveal hidden names.
        """
        is_request = message.method in SPEC_CLIENT_METHODS or self.server.get_request_handler(message.method)
        return not is_request and not self._path.can_drop(message)

    async def notify(self, exchange: Exchange, notification: Notification) -> None:
        """Run the handler of a notification, if it has one; drop a notification that exceeds the limits."""
        message = Request(0, notification.method, notification.params)
        try:
            self._path.limited(message)
        except LimitError as error:
            logger.debug("dropped a notification: %s", error.message)
            return
        exchange.meta = message.meta
        try:
            await self._path.notify(exchange, notification)
        except BaseException as error:  # the SDK logs exceptions of handlers itself, but not all of BaseException
            if is_cancellation(error):
                raise
            logger.exception("the handler of %s failed", notification.method)

    async def _outcome(self, request: Request, version: str, work: Awaitable[Outcome]) -> Outcome:
        """Await an outcome; turn an exception into the matching error."""
        try:
            return await work
        except TooLarge as error:
            return self.too_large_outcome(request, version, error)
        except MCPError as error:
            note_failure(error)
            return _error(request, version, error)
        except ValidationError as error:
            note_failure(error)
            message = f"Invalid params for {request.method}: {explain(error)}"
            return Outcome(error={"code": INVALID_PARAMS, "message": message}, malformed=True)
        except BaseException as error:
            if is_cancellation(error):
                raise
            failure = error
        # Outside the `except`: an exception in a logging handler would otherwise carry this one, with its text.
        if request.method == TOOL_CALL and not isinstance(failure, Exception):  # which the SDK does not catch
            return Outcome(result=self._path.exception_result(_name(request), version, failure))
        note_failure(failure, self._path.exception_text)
        logger.error("the handler of %s failed", request.operation, exc_info=failure, extra=_log_extra(request))
        del failure  # as in `FastPath._result`
        return Outcome(error={"code": INTERNAL_ERROR, "message": "Internal server error"})

    def timeout_outcome(self, request: Request, version: str, seconds: float) -> Outcome:
        """Return the error of a call that has exceeded its timeout; for a tool call, a result that says so."""
        problem, advice = f"it did not end within {seconds:g} s", ""
        if not self.retry_safety(request).safe:
            advice = "; it may have taken effect: check before you retry"
        if request.method != TOOL_CALL:
            return Outcome(error={"code": REQUEST_TIMEOUT, "message": f"{request.method}: {problem}{advice}"})
        text = f"Error executing tool {_name(request)}: {problem}{advice}"
        return Outcome(result=self._path.error_result(version, text))

    def too_large_outcome(self, request: Request, version: str, error: TooLarge) -> Outcome:
        """Log that a message is too large, and return the error; for a tool call, a result that says so."""
        note_failure(error)
        logger.warning("%s: %s (MAX_RESULT_BYTES)", request.operation, error.error.message, extra=_log_extra(request))
        if request.method != TOOL_CALL:
            return _error(request, version, error)
        text = f"Error executing tool {_name(request)}: {error}"
        return Outcome(result=self._path.error_result(version, text))


def _error(request: Request, version: str, error: MCPError) -> Outcome:
    fields = error.error.model_dump(mode="json", exclude_none=True)
    if not REVISIONS[version].sessionful:
        fields["code"] = sessionless_code(fields["code"])
    uri = (request.params or {}).get("uri")
    status = error.status if isinstance(error, Refused) else 0
    return Outcome(error=truncate_uri(fields, uri), malformed=isinstance(error, LimitError), status=status)


def _name(request: Request) -> str:
    return str((request.params or {}).get("name"))


def _log_extra(request: Request) -> dict[str, str]:
    """Return the attributes by which error trackers can group log records."""
    kind, name = _KINDS.get(request.method), (request.params or {}).get("name")
    return {"method": request.method, **({kind: name} if kind and isinstance(name, str) else {})}
