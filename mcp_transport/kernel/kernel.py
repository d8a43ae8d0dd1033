"""Single requests, served with an SDK server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any, Final

from mcp.server.connection import Connection
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.mcpserver import MCPServer
from mcp.server.runner import ServerRunner
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types import (
    InputRequiredResult,
    SubscriptionsListenRequestParams,
)
from mcp_types.methods import SPEC_CLIENT_METHODS
from pydantic import ValidationError

from mcp_transport.domain.access_rule import AccessRule
from mcp_transport.domain.history import operation_of
from mcp_transport.kernel.access import Access, target_of
from mcp_transport.kernel.discover import declare_in_discover
from mcp_transport.kernel.dispatch_context import Exchange, StandaloneChannel, may_ask
from mcp_transport.kernel.errors import TooLarge, is_cancellation
from mcp_transport.kernel.events import EventBus, ListenHandlers
from mcp_transport.kernel.fast_path import FastToolCalls, passes_plain_calls
from mcp_transport.kernel.handlers import lowlevel
from mcp_transport.kernel.initialize_cache import Greetings
from mcp_transport.kernel.lifespan import Lifespan
from mcp_transport.kernel.limits import TooMuch, bounded
from mcp_transport.kernel.request_meta import HeaderParameters
from mcp_transport.kernel.runner import Runner, close, connection_of
from mcp_transport.kernel.tracing import Message, in_own_span, is_traced
from mcp_transport.kernel.types import Outcome, RetrySafety
from mcp_transport.kernel.validation_errors import cut_uri, described
from mcp_transport.kernel.visibility import hiding
from mcp_transport.protocol.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    sessionless_code,
)
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.jsonrpc import Notification, Request
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["Kernel"]

# A list that does not end is the server's fault, and must not become the client's wait.
_MAX_PAGES: Final = 100

# Notifications that say everything by their name.
_BARE: Final = ("notifications/initialized", "notifications/roots/list_changed")

# What the name in a request's parameters is the name of.
_SUBJECTS: Final = {"tools/call": "tool", "prompts/get": "prompt"}

logger = logging.getLogger(__name__)


class Kernel:
    """Serves single requests with an SDK server, which may be an `MCPServer`, a low-level `Server` or a FastMCP 4."""

    def __init__(
        self, server: Any, *, access: Mapping[tuple[str, str], AccessRule] | None = None, announces: bool = True
    ) -> None:
        self.server = lowlevel(server)
        self._tools = server._tool_manager if isinstance(server, MCPServer) else None
        self.access, self._plain = Access(server, access or {}), FastToolCalls(server)
        # FastMCP lists each error of arguments, and makes its validators at each call.
        self._counts_arguments = not isinstance(server, MCPServer | Server)
        self._header_parameters, self._greetings = HeaderParameters(), Greetings()
        self.bus = EventBus()
        self._experimental: dict[str, dict[str, Any]] | None = None
        self.listening = ListenHandlers(self.bus)
        if announces and isinstance(server, MCPServer):
            self._take_over_subscriptions(server)

    def _take_over_subscriptions(self, server: MCPServer[Any]) -> None:
        """Have `ctx.notify_*` and `subscriptions/listen` reach every node."""
        server._subscriptions = self.bus
        entry = self.server.get_request_handler("subscriptions/listen")
        if entry is not None and isinstance(entry.handler, ListenHandler | ListenHandlers):
            self.server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self.listening)

    def declare(self, experimental: dict[str, dict[str, Any]]) -> None:
        """Declare experimental capabilities in answers to `initialize` and `server/discover`."""
        self._experimental = experimental or None
        declare_in_discover(self.server, experimental)

    # -- life ----------------------------------------------------------------------------------------

    async def enter_lifespan(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        context: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> Lifespan:
        """Enter the server's lifespan for the running loop; `context` surrounds its beginning and its end."""
        lifespan = Lifespan(self.server, context)
        lifespan.task = spawn(lifespan.live())
        await lifespan.entered
        return lifespan

    def end_listening(self) -> None:
        """Let every listen stream send its final result and end."""
        self.listening.close()

    # -- the headers of 2026-07-28 --------------------------------------------------------------------

    async def check_param_headers(
        self, request: Request, headers: Headers, version: str, exchange: Callable[[], Exchange]
    ) -> None:
        """Compare a tool call's Mcp-Param-* headers with its arguments; `exchange` is as for `serve`.

        Raises:
            ProtocolError: 400 / -32020 (2026-07-28, streamable-http, "Custom headers").
        """
        params = request.params or {}
        name, arguments = params.get("name"), params.get("arguments") or {}
        if request.method != "tools/call" or not isinstance(name, str) or not isinstance(arguments, dict):
            return
        if request.hidden:
            return  # what is wrong with the headers would tell that there is a tool
        if not arguments and not any(header.startswith("mcp-param-") for header in headers):
            return
        schema = await self._input_schema(name, version, exchange)
        if schema is not None:
            self._header_parameters.check(name, schema, arguments, headers)

    async def _input_schema(self, name: str, version: str, exchange: Callable[[], Exchange]) -> Any:
        """Look a tool's schema up; a server without a way to do that is asked for its list."""
        if self.server.get_tool_input_schema is not None:
            return self.server.get_tool_input_schema(name)
        cursor, asking = None, replace(exchange(), progress_token=None)
        for _ in range(_MAX_PAGES):
            params = {"_meta": asking.meta or {}, **({"cursor": cursor} if cursor else {})}
            outcome = await self.serve(Request(0, "tools/list", params), version, lambda: asking)
            tools = (outcome.result or {}).get("tools", [])
            if found := [tool["inputSchema"] for tool in tools if tool["name"] == name]:
                return found[0]
            cursor = (outcome.result or {}).get("nextCursor")
            if not cursor:
                break
        return None

    def traits(self, request: Request) -> RetrySafety:
        """Return whether a request may be run twice; a tool says so by its hints (2025-06-18, ToolAnnotations)."""
        if request.method != "tools/call":
            return RetrySafety(safe=True)
        name = (request.params or {}).get("name")
        tool = self._tools.get_tool(name) if self._tools is not None and isinstance(name, str) else None
        if tool is None or request.hidden:
            return RetrySafety(safe=False)
        hints = tool.annotations
        safe = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
        durable = getattr(tool, "durable", False)
        return RetrySafety(safe or durable, durable)

    # -- one message ---------------------------------------------------------------------------------

    async def initialize(self, exchange: Exchange, params: Mapping[str, Any]) -> Outcome:
        """Answer `initialize`; a result says that `params` were valid."""
        options = self.server.create_initialization_options(NotificationOptions(True, True, True), self._experimental)
        traced = is_traced(exchange.meta)
        is_plain = not traced and self._has_no_middleware_of_its_own()
        if is_plain and (known := self._greetings.find(options, params)) is not None:
            return Outcome(result=known)
        connection = Connection.for_loop(StandaloneChannel(exchange))
        runner = Runner(self.server, connection, exchange.lifespan, init_options=options, traced=traced)
        request = Request(0, "initialize", params)
        work = self._initialize(runner, exchange, request)
        outcome = await self._outcome(request, exchange.facts.protocol_version, work)
        if is_plain and outcome.result is not None:
            self._greetings.keep(options, params, outcome.result)
        return outcome

    async def _initialize(self, runner: Runner, exchange: Exchange, request: Request) -> Outcome:
        return await _answered(runner, exchange, request.method, self._bounded(request).params)

    def _has_no_middleware_of_its_own(self) -> bool:
        return all(map(passes_plain_calls, self.server.middleware))

    async def serve(self, request: Request, version: str, exchange: Callable[[], Exchange]) -> Outcome:
        """Run the handler of one request to its end.

        `exchange` returns what most handlers want to see of it, and the same each time.
        """
        if not REVISIONS[version].sessionful and self.server.get_request_handler(request.method) is None:
            # Before its parameters are looked at (2026-07-28, streamable-http: 404).
            return Outcome(error={"code": METHOD_NOT_FOUND, "message": "Method not found", "data": request.method})
        if request.hidden and (asked := target_of(request)) is not None:
            with hiding(*asked):
                return await self._outcome(request, version, self._call(request, exchange))
        if (tool := self._plain.tool(request)) is not None:
            work = self._call_plainly(tool, request, version, exchange)
            if is_traced(request.meta):
                seen = Message(request.method, request.params, version, request.id, request.meta)
                work = in_own_span(self.server.middleware, seen, work)
            return await self._outcome(request, version, work)
        return await self._outcome(request, version, self._call(request, exchange))

    def _bounded(self, request: Request) -> Request:
        return bounded(request, counts_arguments=self._counts_arguments)

    async def _call_plainly(
        self, tool: Any, request: Request, version: str, exchange: Callable[[], Exchange]
    ) -> Outcome:
        params = request.params or {}
        if tool.context_kwarg is None:
            result = await self._plain.call(tool, version, params)
        else:
            runner = self._runner(exchange())
            try:
                result = await self._plain.call(tool, version, params, (runner, exchange()))
            finally:
                await close(runner.connection)
        # A question goes through what the SDK puts around calls.
        return Outcome(result=result) if isinstance(result, dict) else await self._call(request, exchange, result)

    async def _call(
        self, request: Request, exchange: Callable[[], Exchange], answer: InputRequiredResult | None = None
    ) -> Outcome:
        request = self._bounded(request)
        runner = self._runner(exchange())
        if answer is not None:  # of a plain call, which has its span
            runner.answer, runner.traced = answer, False
        return await _answered(runner, exchange(), request.method, request.params)

    def hears(self, notification: Notification) -> bool:
        """Tell whether anybody would notice a notification: a handler, a middleware or, if it is odd, the log.

        A request without an id is nobody's: nobody is owed an answer, and a middleware's would tell what is hidden.
        """
        is_request = notification.method in SPEC_CLIENT_METHODS or self.server.get_request_handler(
            notification.method
        )
        return not is_request and bool(
            notification.params
            or notification.method not in _BARE
            or self.server.get_notification_handler(notification.method) is not None
            or not self._has_no_middleware_of_its_own()
            or is_traced(None)
        )

    async def notify(self, exchange: Exchange, notification: Notification) -> None:
        """Run the handler of one notification, if there is one; one that is too long is dropped."""
        message = Request(0, notification.method, notification.params)
        try:
            self._bounded(message)
        except TooMuch as error:
            logger.debug("dropped a notification: %s", error.message)
            return
        runner = self._runner(exchange)
        runner.traced = is_traced(message.meta)
        try:
            await runner.on_notify(exchange, notification.method, notification.params)
        except BaseException as error:  # the SDK logs others itself
            if is_cancellation(error):
                raise
            logger.exception("the handler of %s failed", notification.method)
        finally:
            await close(runner.connection)

    async def _outcome(self, request: Request, version: str, work: Awaitable[Outcome]) -> Outcome:
        """Wait for an outcome, and turn what is raised instead into the error that says so."""
        try:
            return await work
        except TooLarge as error:
            return self.refused(request, version, error)
        except MCPError as error:
            return _error(request, version, error)
        except ValidationError as error:
            message = f"Invalid params for {request.method}: {described(error)}"
            return Outcome(error={"code": INVALID_PARAMS, "message": message}, malformed=True)
        except BaseException as error:
            if is_cancellation(error):
                raise
            failure = error
        # Not in the `except`: what fails in a handler of logging would have this, with its text, as its context.
        if request.method == "tools/call" and not isinstance(failure, Exception):
            return Outcome(result=self._plain.failed(_name(request), version, failure))  # the SDK does not catch it
        operation = operation_of(request.method, request.params)
        logger.error("the handler of %s failed", operation, exc_info=failure, extra=_subject(request))
        del failure  # as in `FastToolCalls.call`
        return Outcome(error={"code": INTERNAL_ERROR, "message": "Internal server error"})

    def refused(self, request: Request, version: str, error: TooLarge) -> Outcome:
        """Log that something is too large to be sent, and answer so; with a result where the request calls a tool."""
        operation = operation_of(request.method, request.params)
        logger.warning("%s: %s (MAX_RESULT_BYTES)", operation, error.error.message, extra=_subject(request))
        if request.method != "tools/call":
            return _error(request, version, error)
        return Outcome(result=self._plain.failure(version, f"Error executing tool {_name(request)}: {error}"))

    def _runner(self, exchange: Exchange) -> Runner:
        return Runner(self.server, connection_of(exchange), exchange.lifespan, traced=is_traced(exchange.meta))


async def _answered(
    runner: ServerRunner[Any], exchange: Exchange, method: str, params: Mapping[str, Any] | None
) -> Outcome:
    try:
        return may_ask(exchange, await runner.on_request(exchange, method, params))
    finally:
        await close(runner.connection)


def _error(request: Request, version: str, error: MCPError) -> Outcome:
    fields = error.error.model_dump(mode="json", exclude_none=True)
    if not REVISIONS[version].sessionful:
        fields["code"] = sessionless_code(fields["code"])
    return Outcome(error=cut_uri(fields, (request.params or {}).get("uri")), malformed=isinstance(error, TooMuch))


def _name(request: Request) -> str:
    return str((request.params or {}).get("name"))


def _subject(request: Request) -> dict[str, str]:
    """Return what log records are told apart by, besides their stack."""
    kind, name = _SUBJECTS.get(request.method), (request.params or {}).get("name")
    return {"method": request.method, **({kind: name} if kind and isinstance(name, str) else {})}
