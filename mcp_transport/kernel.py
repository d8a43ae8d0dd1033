"""The one door to the official SDK's provisional seams.

The SDK serves one request without a loop of its own when it is given a connection built from facts and a
dispatch context. Those seams may move in a minor release, so nothing else imports them, and
`tests/test_kernel.py` fails loudly when one moves.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakKeyDictionary

import anyio
from mcp.server.connection import Connection, allowed_log_levels
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver import MCPServer
from mcp.server.runner import ServerRunner, aclose_shielded
from mcp.server.subscriptions import ListenHandler, ServerEvent
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    validate_mcp_param_headers,
)
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.subscriptions import ResourceUpdated, event_from_wire, event_to_notification
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    EmptyResult,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    ServerRequest,
    SetLevelRequestParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, ValidationError

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
)
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.inbox import Broadcast
from mcp_transport.protocol.jsonrpc import Notification, Request, RequestId

__all__ = [
    "Caller",
    "CallerSession",
    "ClientError",
    "Exchange",
    "Facts",
    "Kernel",
    "NoChannel",
    "Outcome",
    "Outlet",
    "adopt_context",
    "ask_client",
    "send_log",
    "sessionful_features",
]

logger = logging.getLogger(__name__)

_ModelT = TypeVar("_ModelT", bound=BaseModel)
_ContextT = TypeVar("_ContextT", bound="SDKContext[Any, Any]")

# Listen streams cost a task and a buffer each; who may open how many is admission's business, not the SDK's.
_MAX_LISTEN_STREAMS: Final = 100_000

# What a client must have declared to be sent a request (2025-11-25, basic/lifecycle, "Operation").
_NEEDED_CAPABILITY: Final = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}


class ClientError(MCPError):
    """The client answered a request of ours with an error."""


class NoChannel(MCPError):
    """There is no stream that could carry a request to the client."""

    def __init__(self, method: str) -> None:
        super().__init__(
            INVALID_REQUEST,
            f"{method} cannot be sent: the client takes no stream, or speaks 2026-07-28, where a server asks by "
            "returning an InputRequiredResult",
        )


class CallerSession(Protocol):
    """What a handler may do with the session it was called in."""

    @property
    def short_id(self) -> str: ...
    async def read(self) -> dict[str, bytes]: ...
    async def write(self, name: str, value: bytes | None) -> bool: ...
    async def set_log_level(self, level: str) -> None: ...
    async def subscribe(self, uri: str, *, wanted: bool) -> None: ...


@dataclass(slots=True, kw_only=True)
class Caller:
    """Who called, as a handler may see it; the SDK hands it on as `ctx.request_context.request`."""

    headers: Mapping[str, str]
    user: Any
    principal: str
    session: CallerSession | None = None
    cancelled: bool = False


class Outlet(Protocol):
    """Where a running request's messages to its client go."""

    @property
    def can_request(self) -> bool:
        """Can a request to the client be carried, and its reply come back?"""

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the request's own stream."""

    async def request(self, method: str, params: Mapping[str, Any] | None, seconds: float | None) -> dict[str, Any]:
        """Send a request on the request's own stream and wait for the reply, `seconds` at most.

        Raises: ClientError, TimeoutError.
        """

    async def emit(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the session's GET stream."""

    async def close_stream(self) -> None:
        """Close the socket; the client comes back for the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of the client when a request comes in: by its session, or by its own envelope."""

    protocol_version: str
    client_info: Mapping[str, Any] | None = None
    capabilities: Mapping[str, Any] | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: with a result, or with an error and the HTTP status it suggests."""

    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    malformed: bool = False
    """The parameters did not even have the method's shape."""

    def body(self, request_id: RequestId) -> dict[str, Any]:
        """Build the JSON-RPC response."""
        member = {"error": self.error} if self.error is not None else {"result": self.result}
        return {"jsonrpc": "2.0", "id": request_id, **member}

    @property
    def failed(self) -> bool:
        """Tell whether an operator would count this as an error."""
        return self.error is not None or bool(self.result and self.result.get("isError"))


@dataclass(slots=True, kw_only=True, eq=False)
class Exchange:
    """One request or notification under way: the SDK's dispatch context and its standalone channel."""

    facts: Facts
    outlet: Outlet
    caller: Caller
    lifespan: Any = None
    """What the server's lifespan yielded."""
    request_id: RequestId | None = None
    progress_token: RequestId | None = None
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)

    @property
    def can_send_request(self) -> bool:
        return self.request_id is not None and self.outlet.can_request

    @property
    def transport(self) -> TransportContext:
        return TransportContext(
            kind="streamable-http", can_send_request=self.can_send_request, headers=self.caller.headers
        )

    @property
    def message_metadata(self) -> ServerMessageMetadata:
        return ServerMessageMetadata(
            request_context=self.caller,
            close_sse_stream=self.outlet.close_stream,
            can_send_request=self.can_send_request,
        )

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        if not self.can_send_request:
            raise NoChannel(method)
        needed = _NEEDED_CAPABILITY.get(method)
        if needed is not None and (self.facts.capabilities or {}).get(needed) is None:
            raise MCPError(
                METHOD_NOT_FOUND, f"the client did not declare the {needed} capability that {method} needs"
            )
        timeout = (opts or {}).get("timeout")
        try:
            return await self.outlet.request(method, params, timeout)
        except TimeoutError:
            raise MCPError(REQUEST_TIMEOUT, f"the client did not answer {method} in time") from None

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        await self.outlet.notify(method, params)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        if self.progress_token is None:
            return
        optional = {"total": total, "message": message}
        params = {"progressToken": self.progress_token, "progress": progress}
        await self.notify(
            "notifications/progress", params | {name: value for name, value in optional.items() if value is not None}
        )


class _StandaloneChannel:
    """What a handler sends without naming its request: requests go on its stream all the same (SEP-2260)."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        return await self._exchange.send_raw_request(method, params, opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        await self._exchange.outlet.emit(method, params)


class EventBus:
    """The SDK's `SubscriptionBus` over messages between nodes."""

    def __init__(self) -> None:
        self.publish_to: Callable[[Broadcast], Awaitable[None]] | None = None
        # By loop, since each loop of a process is a node of its own and gets its own copy of a message.
        self._listeners: WeakKeyDictionary[AbstractEventLoop, dict[object, Callable[[ServerEvent], None]]]
        self._listeners = WeakKeyDictionary()

    async def publish(self, event: ServerEvent) -> None:
        """Tell every node."""
        uri = event.uri if isinstance(event, ResourceUpdated) else ""
        message = Broadcast(event_to_notification(event, {}).method, uri)
        if self.publish_to is None:
            self.deliver(message)
        else:
            await self.publish_to(message)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Register a listen stream of the running loop; return how to take it back."""
        token, listeners = object(), self._listeners.setdefault(asyncio.get_running_loop(), {})
        listeners[token] = listener

        def unsubscribe() -> None:
            listeners.pop(token, None)

        return unsubscribe

    def deliver(self, message: Broadcast) -> None:
        """Hand a change to the listen streams of the running loop."""
        event = event_from_wire(message.method, {"uri": message.uri})
        listeners = self._listeners.get(asyncio.get_running_loop(), {})
        if event is not None:
            for listener in list(listeners.values()):
                listener(event)


class Lifespan:
    """The server's lifespan on one loop, in a task of its own since it must be left where it was entered."""

    def __init__(self, server: Server[Any]) -> None:
        self._server = server
        self._end = asyncio.Event()
        self.entered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None

    async def live(self) -> None:
        """Enter, wait for `leave`, and leave."""
        try:
            async with self._server.lifespan(self._server) as state:
                self.entered.set_result(state)
                await self._end.wait()
        except Exception as error:
            if self.entered.done():
                logger.exception("the server's lifespan ended badly")
            else:
                self.entered.set_exception(error)

    @property
    def state(self) -> Any:
        """Return what the lifespan yielded."""
        return self.entered.result()

    async def leave(self) -> None:
        """Leave, and wait until it is left."""
        self._end.set()
        if self.task is not None:
            await asyncio.wait([self.task])


class Kernel:
    """Serves single requests with an SDK server, which may be an `MCPServer`, a low-level `Server` or a FastMCP 4."""

    def __init__(self, server: Any) -> None:
        self.server = _lowlevel(server)
        self.bus = EventBus()
        self._listen = ListenHandler(self.bus, max_subscriptions=_MAX_LISTEN_STREAMS)
        if isinstance(server, MCPServer):
            self._take_over_subscriptions(server)

    def _take_over_subscriptions(self, server: MCPServer[Any]) -> None:
        """Have `ctx.notify_*` and `subscriptions/listen` reach every node."""
        server._subscriptions = self.bus
        entry = self.server.get_request_handler("subscriptions/listen")
        if entry is not None and isinstance(entry.handler, ListenHandler):
            self.server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self._listen)

    # -- life ----------------------------------------------------------------------------------------

    async def enter_lifespan(self, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> Lifespan:
        """Enter the server's lifespan for the running loop."""
        lifespan = Lifespan(self.server)
        lifespan.task = spawn(lifespan.live())
        await lifespan.entered
        return lifespan

    def end_listening(self) -> None:
        """Let every listen stream send its final result and end."""
        self._listen.close()

    # -- the envelope of 2026-07-28 ------------------------------------------------------------------

    def open_envelope(self, request: Request, headers: Headers, versions: Sequence[str]) -> Facts:
        """Check a sessionless request's envelope and headers, and read the client's facts from it.

        Raises:
            ProtocolError: 400 with -32602, -32020 or -32022 (2026-07-28, basic and streamable-http).
        """
        body = {"method": request.method, "params": request.params}
        verdict = classify_inbound_request(body, headers=headers, supported_modern_versions=versions)
        if isinstance(verdict, InboundLadderRejection):
            raise _rejection(verdict)
        self._check_param_headers(request, headers)
        return Facts(
            protocol_version=verdict.protocol_version,
            client_info=verdict.client_info,
            capabilities=verdict.client_capabilities,
        )

    def _check_param_headers(self, request: Request, headers: Headers) -> None:
        params = request.params or {}
        arguments = params.get("arguments") or {}
        name, lookup = params.get("name"), self.server.get_tool_input_schema
        if (
            request.method != "tools/call"
            or lookup is None
            or not isinstance(name, str)
            or not isinstance(arguments, dict)
        ):
            return
        schema = lookup(name)
        if schema is None:
            return
        rejection = validate_mcp_param_headers(schema, arguments, _LineView(headers))
        if rejection is not None:
            raise _rejection(rejection)

    # -- one message ---------------------------------------------------------------------------------

    async def initialize(self, exchange: Exchange, params: Mapping[str, Any]) -> tuple[Outcome, Mapping[str, Any]]:
        """Answer `initialize`; return the outcome and the client's validated parameters."""
        options = self.server.create_initialization_options(NotificationOptions(True, True, True))
        connection = Connection.for_loop(_StandaloneChannel(exchange))
        runner = ServerRunner(self.server, connection, exchange.lifespan, init_options=options)
        outcome = await self._run(runner, exchange, "initialize", params)
        accepted = connection.client_params
        return outcome, accepted.model_dump(by_alias=True, mode="json", exclude_none=True) if accepted else {}

    async def serve(self, exchange: Exchange, request: Request) -> Outcome:
        """Run the handler of one request to its end."""
        runner = ServerRunner(self.server, _connection(exchange), exchange.lifespan)
        return await self._run(runner, exchange, request.method, request.params)

    async def notify(self, exchange: Exchange, notification: Notification) -> None:
        """Run the handler of one notification, if there is one."""
        runner = ServerRunner(self.server, _connection(exchange), exchange.lifespan)
        try:
            await runner.on_notify(exchange, notification.method, notification.params)
        finally:
            await aclose_shielded(runner.connection)

    async def _run(
        self, runner: ServerRunner[Any], exchange: Exchange, method: str, params: Mapping[str, Any] | None
    ) -> Outcome:
        try:
            return Outcome(result=await runner.on_request(exchange, method, params))
        except MCPError as error:
            return Outcome(error=error.error.model_dump(mode="json", exclude_none=True))
        except ValidationError as error:
            return Outcome(error={"code": INVALID_PARAMS, "message": _describe(method, error)}, malformed=True)
        except Exception:
            logger.exception("the handler of %s failed", method)
            return Outcome(error={"code": INTERNAL_ERROR, "message": "Internal server error"})
        finally:
            await aclose_shielded(runner.connection)


def sessionful_features(server: MCPServer[Any]) -> None:
    """Teach a server what 2025 sessions ask of it: log level and resource subscriptions."""
    lowlevel = _lowlevel(server)

    async def set_level(ctx: Any, params: SetLevelRequestParams) -> EmptyResult:
        await ctx.request.session.set_log_level(params.level)
        return EmptyResult()

    async def subscribe(ctx: Any, params: SubscribeRequestParams) -> EmptyResult:
        try:
            await ctx.request.session.subscribe(str(params.uri), wanted=True)
        except ValueError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from None
        return EmptyResult()

    async def unsubscribe(ctx: Any, params: UnsubscribeRequestParams) -> EmptyResult:
        await ctx.request.session.subscribe(str(params.uri), wanted=False)
        return EmptyResult()

    lowlevel.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
    lowlevel.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    lowlevel.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)


async def send_log(context: SDKContext[Any, Any], level: str, data: Any, logger_name: str | None) -> None:
    """Send notifications/message on the request's stream, if this client asked for that level.

    The SDK's own methods warn of deprecation at every call; the rule is the same (2026-07-28, server/utilities).
    """
    request = context.request_context
    if level not in allowed_log_levels(request.protocol_version, request.meta):
        return
    params = LoggingMessageNotificationParams.model_validate({"level": level, "data": data, "logger": logger_name})
    await request.session.send_notification(LoggingMessageNotification(params=params), request.request_id)


async def ask_client(context: SDKContext[Any, Any], question: ServerRequest, answer: type[_ModelT]) -> _ModelT:
    """Send a request to the client on the stream of the request being served; return its validated answer."""
    related = ServerMessageMetadata(related_request_id=context.request_context.request_id)
    return await context.request_context.session.send_request(question, answer, metadata=related)


def adopt_context(context: SDKContext[Any, Any], kind: type[_ContextT]) -> _ContextT:
    """Build a context of another class over the same request."""
    return kind(
        request_context=context._request_context,
        mcp_server=context._mcp_server,
        input_params=context._input_params,
        subscriptions=context._subscriptions,
    )


class _LineView(Mapping[str, str]):
    """All header lines under their own names, duplicates included, as the SDK's check wants to see them."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def items(self) -> Any:
        return self._headers.pairs()


def _lowlevel(server: Any) -> Server[Any]:
    for attribute in ("_lowlevel_server", "_mcp_server"):  # MCPServer, FastMCP 4
        server = getattr(server, attribute, server)
    if not isinstance(server, Server):
        raise TypeError(
            f"expected an MCPServer, a low-level Server or a FastMCP 4 server, got {type(server).__name__}"
        )
    return server


def _connection(exchange: Exchange) -> Connection:
    facts = exchange.facts
    connection = Connection.from_envelope(
        facts.protocol_version, facts.client_info, facts.capabilities, outbound=_StandaloneChannel(exchange)
    )
    connection.session_id = facts.session_id
    return connection


def _rejection(verdict: InboundLadderRejection) -> ProtocolError:
    return ProtocolError(400, verdict.code, verdict.message, data=verdict.data)


def _describe(method: str, error: ValidationError) -> str:
    """Say which parameters are wrong and how, without repeating their values."""
    problems = [
        f"{'.'.join(str(part) for part in item['loc']) or 'params'}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)[:3]
    ]
    return f"Invalid params for {method}: {'; '.join(problems)}"
