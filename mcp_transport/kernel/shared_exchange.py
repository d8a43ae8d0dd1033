"""The dispatch context of a handler that runs for several requests at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mcp.shared.dispatcher import CallOptions
from mcp.shared.message import ServerMessageMetadata

from mcp_transport.kernel.dispatch_context import Exchange
from mcp_transport.kernel.errors import NoChannel

__all__ = ["Audience", "SharedExchange"]


class Audience(Protocol):
    """The requests that wait for a handler."""

    def exchanges(self) -> Sequence[Exchange]:
        """Return the exchange of each request that waits now."""

    def claim(self) -> bool:
        """Leave the handler to the request that has started it; return whether that still waits."""

    def close(self) -> None:
        """Let no further request wait for the handler."""


@dataclass(slots=True, kw_only=True, eq=False)
class SharedExchange(Exchange):
    """An exchange whose notifications go to all requests that wait; a request to the client goes to the first."""

    audience: Audience

    @property
    def message_metadata(self) -> ServerMessageMetadata:
        """Return the HTTP request, and the function that closes the streams, for handlers."""
        return ServerMessageMetadata(
            request_context=self.caller,
            close_sse_stream=self._close_streams,
            can_send_request=self.can_send_request,
        )

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Send a request to the client of the first request; the others run by themselves. Raises: MCPError."""
        if self.can_send_request and not self.audience.claim():
            raise NoChannel(method)
        return await Exchange.send_raw_request(self, method, params, opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send a notification on the stream of each request."""
        if method == "notifications/progress":  # which has the progress token of the first
            values = params or {}
            await self.progress(values.get("progress", 0), values.get("total"), values.get("message"))
        elif not self.ended:
            for exchange in self._reachable():
                await exchange.notify(method, params)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress to the clients that requested it. Raises: ValueError for NaN and infinity."""
        if not self.ended:
            for exchange in self._reachable():
                await exchange.progress(progress, total, message)

    def _reachable(self) -> Sequence[Exchange]:
        """Return the exchanges without those that would make the others wait for a client that does not read."""
        exchanges = self.audience.exchanges()
        if len(exchanges) > 1:
            return [each for each in exchanges if not each.channel.is_full]
        if exchanges and exchanges[0].channel.is_full:
            self.audience.close()
        return exchanges

    async def _close_streams(self) -> None:
        for exchange in self.audience.exchanges():
            await exchange.channel.close_stream()
