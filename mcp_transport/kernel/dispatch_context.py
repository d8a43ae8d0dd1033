"""One message under way, as the SDK wants to see it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext

from mcp_transport.kernel.types import Caller, ClientChannel, ClientInfo, Outcome
from mcp_transport.protocol.capabilities import all_missing_capabilities, missing_capabilities
from mcp_transport.protocol.errors import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    REQUEST_TIMEOUT,
)
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["ClientError", "Exchange", "NoChannel", "StandaloneChannel", "may_ask"]


class ClientError(MCPError):
    """The client answered a request of ours with an error."""


class NoChannel(MCPError):
    """There is no stream that could carry a request to the client."""

    def __init__(self, method: str) -> None:
        super().__init__(
            INVALID_REQUEST,
            f"{method} cannot be sent: the answer to this request is one JSON document, or the client speaks "
            "2026-07-28, where a server asks by returning an InputRequiredResult",
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Exchange:
    """One request or notification under way: the SDK's dispatch context and its standalone channel."""

    facts: ClientInfo
    outlet: ClientChannel
    caller: Caller
    lifespan: Any = None
    """What the server's lifespan yielded."""
    request_id: RequestId | None = None
    progress_token: RequestId | None = None
    meta: Mapping[str, Any] | None = None
    """The request's `_meta`."""
    ended: bool = False
    """Has the handler returned? Nothing may follow the answer (2026-07-28, streamable-http)."""
    _progress: float | None = None
    _cancel_requested: anyio.Event | None = None

    @property
    def cancel_requested(self) -> anyio.Event:
        """Return what is set when the client cancels; few handlers look."""
        if self._cancel_requested is None:
            self._cancel_requested = anyio.Event()
        return self._cancel_requested

    @property
    def can_send_request(self) -> bool:
        """Tell whether a request to the client can be carried, and its reply come back."""
        return self.request_id is not None and self.outlet.can_request and not self.ended

    @property
    def transport(self) -> TransportContext:
        """Describe the transport."""
        return TransportContext(
            kind="streamable-http", can_send_request=self.can_send_request, headers=self.caller.headers
        )

    @property
    def message_metadata(self) -> ServerMessageMetadata:
        """Return what handlers get of the HTTP request, and how they close its stream."""
        return ServerMessageMetadata(
            request_context=self.caller,
            close_sse_stream=self.outlet.close_stream,
            can_send_request=self.can_send_request,
        )

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Ask the client on the request's own stream. Raises: MCPError."""
        if not self.can_send_request:
            raise NoChannel(method)
        if missing := missing_capabilities(method, params, self.facts.capabilities):
            needed = ", ".join(missing)
            raise MCPError(
                METHOD_NOT_FOUND, f"the client did not declare the {needed} capability that {method} needs"
            )
        timeout = (opts or {}).get("timeout")
        try:
            reply = await self.outlet.request(method, params, timeout)
        except TimeoutError:
            raise MCPError(REQUEST_TIMEOUT, f"the client did not answer {method} in time") from None
        return reply

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send a notification on the request's own stream."""
        if not self.ended:
            await self.outlet.notify(method, params)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress, if the client asked for it and there is any. Raises: ValueError for what is no number."""
        if not math.isfinite(progress) or not math.isfinite(total or 0):
            raise ValueError(f"progress and total must be finite, got {progress} and {total}")
        if self.progress_token is None or (self._progress is not None and progress <= self._progress):
            return  # it MUST increase (2025-11-25, basic/utilities/progress)
        self._progress = progress
        optional = {"total": total, "message": message}
        params = {"progressToken": self.progress_token, "progress": progress}
        await self.notify(
            "notifications/progress", params | {name: value for name, value in optional.items() if value is not None}
        )


class StandaloneChannel:
    """What a handler sends without naming its request: requests go on its stream all the same (SEP-2260)."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Ask the client on the stream of the request being served. Raises: MCPError."""
        return await self._exchange.send_raw_request(method, params, opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send a notification on the session's GET stream."""
        await self._exchange.outlet.emit(method, params)


def may_ask(exchange: Exchange, result: dict[str, Any]) -> Outcome:
    """Turn a question the client cannot answer into the error that says so (2026-07-28, patterns/mrtr)."""
    if result.get("resultType") != "input_required":
        return Outcome(result=result)
    questions = (result.get("inputRequests") or {}).values()
    asked = [(question["method"], question.get("params")) for question in questions]
    required = all_missing_capabilities(asked, exchange.facts.capabilities)
    if not required:
        return Outcome(result=result)
    message = f"this request needs the client capabilities {', '.join(sorted(required))}"
    data = {"requiredCapabilities": required}
    return Outcome(error={"code": MISSING_CLIENT_CAPABILITY, "message": message, "data": data})
