"""The channels on which the handlers of a session send messages to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from mcp_transport.engine.client_requests import ClientRequests
from mcp_transport.engine.codec import encode, encode_notification, within_limit
from mcp_transport.engine.log_appender import LogAppender
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.writer import Writer
from mcp_transport.kernel import CallEnded, ClientChannel, ClientError
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["CallChannel", "SessionChannel"]

_LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


class SessionChannel(ClientChannel):
    """The channel for a message of a session that has no stream of its own: it can use the GET stream only."""

    def __init__(self, context: NodeContext, key: str) -> None:
        self._context, self._key = context, key

    async def emit(self, method: str, params: Mapping[str, Any] | None) -> None:
        await self._context.emit(self._key, method, params)


class CallChannel(SessionChannel):
    """The channel for a request of a session, on the stream of its POST."""

    def __init__(
        self,
        context: NodeContext,
        client_requests: ClientRequests,
        log: LogAppender,
        writer: Writer,
        *,
        can_stream: bool,
    ) -> None:
        super().__init__(context, writer.key)
        self._client_requests, self._log, self._writer = client_requests, log, writer
        self._pending_requests: set[str] = set()
        self._waited, self._waiting_since = 0.0, 0.0
        self.can_request = can_stream

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the stream, unless the client accepts only JSON or requests fewer log messages."""
        if self.can_request and not self._is_too_detailed(method, params):
            is_first = not self._writer.has_messages
            self._writer.write(encode_notification(method, params, self._context.policy.max_result_bytes))
            if is_first:
                await asyncio.sleep(0)  # sends it before a handler that never awaits continues

    def _is_too_detailed(self, method: str, params: Mapping[str, Any] | None) -> bool:
        level, minimum = (params or {}).get("level"), self._writer.session.log_level
        if method != "notifications/message" or not minimum:
            return False
        return level in _LOG_LEVELS and _LOG_LEVELS.index(level) < _LOG_LEVELS.index(minimum)

    async def request(self, method: str, params: Mapping[str, Any] | None, seconds: float | None) -> dict[str, Any]:
        """Send a request to the client on the request's stream and wait for its reply."""
        seconds = seconds or self._context.policy.client_reply_timeout
        request_id = self._client_requests.new_id(self._key, self._writer.session.principal, seconds)
        message = {
            "jsonrpc": "2.0",
            "id": request_id,
            "method": method,
            **({} if params is None else {"params": params}),
        }
        self._writer.write(within_limit(encode(message), self._context.policy.max_result_bytes))
        self._wait_starts(request_id)
        try:
            reply = await self._client_requests.wait_for_reply(request_id, seconds)
        except (TimeoutError, asyncio.CancelledError):
            self._withdraw(request_id)
            raise
        finally:
            self._wait_ends(request_id)
        if reply is None:
            raise CallEnded(method)
        if reply.error is not None:
            raise ClientError(reply.error["code"], reply.error["message"], reply.error.get("data"))
        return dict(reply.result or {})

    def _wait_starts(self, request_id: str) -> None:
        if not self._pending_requests:
            self._waiting_since = self._context.clock.monotonic()
        self._pending_requests.add(request_id)

    def _wait_ends(self, request_id: str) -> None:
        if self._pending_requests == {request_id}:
            self._waited = self.seconds_waited()
        self._pending_requests.discard(request_id)

    def seconds_waited(self) -> float:
        """Return for how long the handler has waited for the client."""
        return self._waited + (
            self._context.clock.monotonic() - self._waiting_since if self._pending_requests else 0.0
        )

    def withdraw(self) -> None:
        """Cancel the pending requests to the client; a function that waits for one gets an error."""
        for request_id in tuple(self._pending_requests):
            self._withdraw(request_id)
            self._client_requests.give_up(request_id)

    def _withdraw(self, request_id: str) -> None:
        # 2025-11-25, basic/lifecycle, "Timeouts".
        if request_id in self._pending_requests:
            self._wait_ends(request_id)
            cancelled = {"requestId": request_id, "reason": "no longer needed"}
            self._writer.write(encode_notification("notifications/cancelled", cancelled))

    async def close_stream(self) -> None:
        """Close the socket of a client that supports polling and reconnects (2025-11-25)."""
        if REVISIONS[self._writer.session.protocol_version].polling and self.can_request:
            self._log.close_socket(self._writer)
