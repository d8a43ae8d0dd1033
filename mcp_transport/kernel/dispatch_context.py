"""The SDK's dispatch context of one message."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
from mcp.shared.dispatcher import CallOptions
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext

from mcp_transport.kernel.audience import Audience, Listener, notify_all, report_to_all
from mcp_transport.kernel.errors import MCPError, NoChannel
from mcp_transport.kernel.types import Caller, ClientChannel, ClientInfo
from mcp_transport.protocol.capabilities import all_missing_capabilities, missing_capabilities
from mcp_transport.protocol.errors import METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY, REQUEST_TIMEOUT
from mcp_transport.protocol.jsonrpc import Outcome, RequestId

__all__ = ["Exchange", "StandaloneChannel", "reject_unanswerable"]


@dataclass(slots=True, kw_only=True, eq=False)
class Exchange:
    """A request or notification that is being handled; implements the SDK's dispatch context."""

    client: ClientInfo
    channel: ClientChannel
    caller: Caller
    lifespan: Any = None
    """The value that the server's lifespan yielded."""
    request_id: RequestId | None = None
    progress_token: RequestId | None = None
    meta: Mapping[str, Any] | None = None
    """The request's `_meta`."""
    ended: bool = False
    """Has the handler returned? Nothing may follow the response (2026-07-28, streamable-http)."""
    audience: Audience | None = None
    """Those that wait for the handler, if it may run for several requests."""
    _progress: float | None = None
    _cancel_requested: anyio.Event | None = None

    @property
    def cancel_requested(self) -> anyio.Event:
        """Return the event that is set when the client cancels; created on demand, since few handlers use it."""
        if self._cancel_requested is None:
            self._cancel_requested = anyio.Event()
        return self._cancel_requested

    @property
    def can_send_request(self) -> bool:
        """Return whether a request to the client can be delivered and its reply received."""
        return self.request_id is not None and self.channel.can_request and not self.ended

    @property
    def transport(self) -> TransportContext:
        """Return the SDK's description of the transport."""
        return TransportContext(
            kind="streamable-http", can_send_request=self.can_send_request, headers=self.caller.headers
        )

    @property
    def message_metadata(self) -> ServerMessageMetadata:
        """Return the HTTP request, and the function that closes its stream, for handlers."""
        return ServerMessageMetadata(
            request_context=self.caller,
            close_sse_stream=self.channel.close_stream,
            can_send_request=self.can_send_request,
        )

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Send a request to the client on this request's stream and return its reply. Raises: MCPError."""
        if not self.can_send_request:
            raise NoChannel(method)
        if missing := missing_capabilities(method, params, self.client.capabilities):
            text = f"the client did not declare the {', '.join(missing)} capability that {method} needs"
            raise MCPError(METHOD_NOT_FOUND, text)
        if self.audience is not None and not self.audience.claim():
            raise NoChannel(method)
        timeout = (opts or {}).get("timeout")
        try:
            return await self.channel.request(method, params, timeout)
        except TimeoutError:
            raise MCPError(REQUEST_TIMEOUT, f"the client did not answer {method} in time") from None

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send a notification on the request's own stream."""
        if self.ended:
            return
        if self.audience is None:
            await self.channel.notify(method, params)
        elif listeners := self._listeners():
            await notify_all(listeners, method, params)
        else:
            await self.channel.notify(method, params)

    def _listeners(self) -> Sequence[Listener]:
        """Return the exchanges of all that wait, if those are several."""
        if self.audience is None:
            return ()
        if not (listeners := self.audience.exchanges()) and self.channel.is_full:
            self.audience.close()  # the handler waits for a client that does not read
        return listeners

    def for_own_client(self) -> Exchange:
        """Return an exchange with the same client alone."""
        own = replace(self, audience=None)
        own._progress = self._progress
        return own

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress if the client requested it and it increased. Raises: ValueError for NaN and infinity."""
        if not math.isfinite(progress) or not math.isfinite(total or 0):
            raise ValueError(f"progress and total must be finite, got {progress} and {total}")
        if self.audience is not None and (listeners := self._listeners()):
            if not self.ended:
                await report_to_all(listeners, progress, total, message)
            return
        if self.progress_token is None or (self._progress is not None and progress <= self._progress):
            return  # it MUST increase (2025-11-25, basic/utilities/progress)
        self._progress = progress
        params = {"progressToken": self.progress_token, "progress": progress, "total": total, "message": message}
        present = {name: value for name, value in params.items() if value is not None}
        await self.notify("notifications/progress", present)


class StandaloneChannel:
    """Messages that a handler sends without naming its request; requests still use that one's stream (SEP-2260)."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Send a request to the client on the stream of the request being served. Raises: MCPError."""
        return await self._exchange.send_raw_request(method, params, opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send a notification on the session's GET stream."""
        await self._exchange.channel.emit(method, params)


def reject_unanswerable(exchange: Exchange, result: dict[str, Any]) -> Outcome:
    """Return the outcome of a result: an error if it requests input that the client cannot give.

    Rule: 2026-07-28, patterns/mrtr.
    """
    if result.get("resultType") != "input_required":
        return Outcome(result=result)
    input_requests = (result.get("inputRequests") or {}).values()
    requests = [(item["method"], item.get("params")) for item in input_requests]
    required = all_missing_capabilities(requests, exchange.client.capabilities)
    if not required:
        return Outcome(result=result)
    message = f"this request needs the client capabilities {', '.join(sorted(required))}"
    data = {"requiredCapabilities": required}
    return Outcome(error={"code": MISSING_CLIENT_CAPABILITY, "message": message, "data": data})
