"""Single requests, served with an SDK server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.mcpserver import MCPServer
from mcp.server.runner import ServerRunner, aclose_shielded
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types import (
    ClientCapabilities,
    InitializeRequestParams,
    InputRequiredResult,
    SubscriptionsListenRequestParams,
)
from mcp_types.methods import SPEC_CLIENT_METHODS
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider
from pydantic import ValidationError

from mcp_transport.kernel.access import Access, Rule, refuse_hidden
from mcp_transport.kernel.calling import PlainCalls, passes_plain_calls
from mcp_transport.kernel.envelope import HeaderParameters
from mcp_transport.kernel.events import EventBus, Listening
from mcp_transport.kernel.exchange import Exchange, StandaloneChannel, may_ask
from mcp_transport.kernel.greetings import Greetings
from mcp_transport.kernel.handlers import lowlevel
from mcp_transport.kernel.invalid import cut_uri, described
from mcp_transport.kernel.lifespan import Lifespan
from mcp_transport.kernel.limits import TooMuch, bounded
from mcp_transport.kernel.remembering import remembered
from mcp_transport.kernel.values import Outcome, Traits
from mcp_transport.protocol.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    sessionless_code,
)
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.history import operation_of
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
        self, server: Any, *, access: Mapping[tuple[str, str], Rule] | None = None, announces: bool = True
    ) -> None:
        self.server = lowlevel(server)
        self._tools = server._tool_manager if isinstance(server, MCPServer) else None
        self.access, self._plain = Access(server, access or {}), PlainCalls(server)
        # FastMCP lists each error of arguments, and makes its validators at each call.
        self._counts_arguments = not isinstance(server, MCPServer | Server)
        self._header_parameters, self._greetings = HeaderParameters(), Greetings()
        self.bus = EventBus()
        self.listening = Listening(self.bus)
        if announces and isinstance(server, MCPServer):
            self._take_over_subscriptions(server)

    def _take_over_subscriptions(self, server: MCPServer[Any]) -> None:
        """Have `ctx.notify_*` and `subscriptions/listen` reach every node."""
        server._subscriptions = self.bus
        entry = self.server.get_request_handler("subscriptions/listen")
        if entry is not None and isinstance(entry.handler, ListenHandler | Listening):
            self.server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self.listening)

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

    def traits(self, request: Request) -> Traits:
        """Return whether a request may be run twice; a tool says so by its hints (2025-06-18, ToolAnnotations)."""
        if request.method != "tools/call":
            return Traits(safe=True)
        name = (request.params or {}).get("name")
        tool = self._tools.get_tool(name) if self._tools is not None and isinstance(name, str) else None
        if tool is None:
            return Traits(safe=False)
        hints = tool.annotations
        safe = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
        durable = getattr(tool, "durable", False)
        return Traits(safe or durable, durable)

    # -- one message ---------------------------------------------------------------------------------

    async def initialize(self, exchange: Exchange, params: Mapping[str, Any]) -> Outcome:
        """Answer `initialize`; a result says that `params` were valid."""
        options = self.server.create_initialization_options(NotificationOptions(True, True, True))
        traced = _is_traced(exchange.meta)
        is_plain = not traced and self._has_no_middleware_of_its_own()
        if is_plain and (known := self._greetings.find(options, params)) is not None:
            return Outcome(result=known)
        connection = Connection.for_loop(StandaloneChannel(exchange))
        runner = _Runner(self.server, connection, exchange.lifespan, init_options=options, traced=traced)
        request = Request(0, "initialize", params)
        work = self._initialize(runner, exchange, request)
        outcome = await _outcome(request, exchange.facts.protocol_version, work)
        if is_plain and outcome.result is not None:
            self._greetings.keep(options, params, outcome.result)
        return outcome

    async def _initialize(self, runner: _Runner, exchange: Exchange, request: Request) -> Outcome:
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
        if request.hidden:
            return await _outcome(request, version, self._hide(request, version))
        if (tool := self._plain.tool(request)) is not None and not _is_traced(request.meta):
            return await _outcome(request, version, self._call_plainly(tool, request, version, exchange))
        return await _outcome(request, version, self._call(request, exchange))

    async def _hide(self, request: Request, version: str) -> Outcome:
        return Outcome(result=refuse_hidden(self._bounded(request), version))

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
                await _close(runner.connection)
        # A question goes through what the SDK puts around calls.
        return Outcome(result=result) if isinstance(result, dict) else await self._call(request, exchange, result)

    async def _call(
        self, request: Request, exchange: Callable[[], Exchange], answer: InputRequiredResult | None = None
    ) -> Outcome:
        request = self._bounded(request)
        runner = self._runner(exchange())
        runner.answer = answer
        return await _answered(runner, exchange(), request.method, request.params)

    def hears(self, notification: Notification) -> bool:
        """Tell whether anybody would notice a notification: a handler, a middleware or, if it is odd, the log.

        Nobody is owed an answer to what should have been a request.
        """
        return notification.method not in SPEC_CLIENT_METHODS and bool(
            notification.params
            or notification.method not in _BARE
            or self.server.get_notification_handler(notification.method) is not None
            or not self._has_no_middleware_of_its_own()
            or _is_traced(None)
        )

    async def notify(self, exchange: Exchange, notification: Notification) -> None:
        """Run the handler of one notification, if there is one; one that is too long is dropped."""
        try:
            self._bounded(Request(0, notification.method, notification.params))
        except TooMuch as error:
            logger.debug("dropped a notification: %s", error.message)
            return
        runner = self._runner(exchange)
        try:
            await runner.on_notify(exchange, notification.method, notification.params)
        finally:
            await _close(runner.connection)

    def _runner(self, exchange: Exchange) -> _Runner:
        return _Runner(self.server, _connection(exchange), exchange.lifespan, traced=_is_traced(exchange.meta))


async def _answered(
    runner: ServerRunner[Any], exchange: Exchange, method: str, params: Mapping[str, Any] | None
) -> Outcome:
    try:
        return may_ask(exchange, await runner.on_request(exchange, method, params))
    finally:
        await _close(runner.connection)


async def _outcome(request: Request, version: str, work: Awaitable[Outcome]) -> Outcome:
    """Wait for an outcome, and turn what is raised instead into the error that says so."""
    try:
        return await work
    except MCPError as error:
        fields = error.error.model_dump(mode="json", exclude_none=True)
        if not REVISIONS[version].sessionful:
            fields["code"] = sessionless_code(fields["code"])
        return Outcome(error=cut_uri(fields, (request.params or {}).get("uri")), malformed=isinstance(error, TooMuch))
    except ValidationError as error:
        message = f"Invalid params for {request.method}: {described(error)}"
        return Outcome(error={"code": INVALID_PARAMS, "message": message}, malformed=True)
    except Exception as error:
        failure = error
    # Not in the `except`: what fails in a handler of logging would have this, with its text, as its context.
    operation = operation_of(request.method, request.params)
    logger.error("the handler of %s failed", operation, exc_info=failure, extra=_subject(request))
    return Outcome(error={"code": INTERNAL_ERROR, "message": "Internal server error"})


def _subject(request: Request) -> dict[str, str]:
    """Return what log records are told apart by, besides their stack."""
    kind, name = _SUBJECTS.get(request.method), (request.params or {}).get("name")
    return {"method": request.method, **({kind: name} if kind and isinstance(name, str) else {})}


@dataclass
class _Runner(ServerRunner[Any]):
    """The SDK's runner, without spans that nobody collects."""

    traced: bool = True
    answer: InputRequiredResult | None = None
    """What the handler has answered already."""

    def _compose_server_middleware(self, inner: CallNext) -> CallNext:
        call = inner if self.answer is None else self._answered
        for middleware in reversed(self.server.middleware):
            # Not isinstance: this class is a Protocol's, which is slow to ask.
            if self.traced or type(middleware) is not OpenTelemetryMiddleware:
                call = partial(middleware, call_next=call)
        return call

    async def _answered(self, ctx: ServerRequestContext[Any, Any]) -> HandlerResult:
        return self._serialize(ctx.method, ctx.protocol_version, self.answer)


def _is_traced(meta: Mapping[str, Any] | None) -> bool:
    """Tell whether a span would reach anybody: a collector of ours, or whoever called with a trace of his own."""
    return "traceparent" in (meta or ()) or not isinstance(get_tracer_provider(), ProxyTracerProvider)


async def _close(connection: Connection) -> None:
    """Do what handlers left to be done at the end, which is mostly nothing."""
    if connection.exit_stack._exit_callbacks:  # type: ignore[attr-defined]
        await aclose_shielded(connection)


def _connection(exchange: Exchange) -> Connection:
    facts = exchange.facts
    params, capabilities = _client(facts.protocol_version, [facts.client_info, facts.capabilities])
    connection = Connection(
        StandaloneChannel(exchange),
        protocol_version=facts.protocol_version,
        session_id=facts.session_id,
        client_params=params,
    )
    connection.client_capabilities = capabilities
    connection.initialized.set()
    return connection


@remembered
def _client(version: str, about: Sequence[Any]) -> tuple[InitializeRequestParams | None, ClientCapabilities | None]:
    """Read what a client says of itself, as the SDK reads an envelope."""
    connection = Connection.from_envelope(version, *about)
    return connection.client_params, connection.client_capabilities
