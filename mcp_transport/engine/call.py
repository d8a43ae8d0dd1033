"""A running request, and the channel for its messages to the client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from mcp_transport.domain.audit_events import ToolCalled
from mcp_transport.domain.history import Ending
from mcp_transport.domain.principal import Principal
from mcp_transport.engine.codec import encode, encode_notification, within_limit
from mcp_transport.engine.handler_tasks import begin_handler
from mcp_transport.engine.memory_budget import Reservation
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.engine.writer import Writer
from mcp_transport.kernel import ClientError, Exchange, TooLarge, is_interrupt
from mcp_transport.protocol.errors import INTERNAL_ERROR, METHOD_NOT_FOUND, cancelled_call_error, lost_call_error
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import MAX_OPERATION, Outcome, Request

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["Call", "CallContexts", "SessionChannel", "no_context"]

logger = logging.getLogger(__name__)

_LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


_FAILED: Final = Outcome(error={"code": INTERNAL_ERROR, "message": "Internal server error"})


class CallContexts(Protocol):
    """Builds the context of a call, such as a thread for synchronous code.

    Without a principal, the context is for the authentication of a request; without a request, for a second run.
    """

    def __call__(
        self, request: HTTPRequest | None = None, principal: Principal | None = None
    ) -> AbstractAsyncContextManager[None]: ...


def no_context(
    request: HTTPRequest | None = None, principal: Principal | None = None
) -> AbstractAsyncContextManager[None]:
    """Return an empty context."""
    return nullcontext()


class Call:
    """A running request; it runs in a task of its node and does not depend on the socket that it came on."""

    def __init__(
        self,
        node: Node,
        request: Request,
        version: str,
        build_exchange: Callable[[Request], Exchange],
        context: AbstractAsyncContextManager[None],
        writer: Writer | None = None,
    ) -> None:
        self.request, self.writer, self._context = request, writer, context
        self._version, self._build_exchange = version, build_exchange
        self._exchange: Exchange | None = None
        self.outcome: Outcome | None = None
        """None while the call runs, and after a cancellation by the client."""
        self.payload = b""
        """The outcome as a JSON-RPC response."""
        self._node = node
        self._has_ended = self._is_audited = self._is_cancelled = False
        self._forced_ending: Ending | None = None
        self._started_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self, done: Callable[[Call], None], memory: Reservation | None = None) -> None:
        """Start the call; `done` is called once, at the end. The `memory` of a large request is held until then."""
        self._node.running.add(self)
        self._started_at = self._node.clock.now()
        is_tool = self.request.method == "tools/call" and not self.request.hidden
        self._is_audited = is_tool and self._node.observer.audits(ToolCalled)
        self._done = done
        self._task = self._node.tasks.spawn(self._run(), copy_context())
        self._task.add_done_callback(lambda _: self._end())  # the task may be cancelled before it runs
        if memory is not None:
            self._task.add_done_callback(lambda _: self._drop_arguments())
            memory.hold_until_done(self._task)

    def _end(self) -> None:
        if not self._has_ended:
            self._node.running.discard(self)
            self._has_ended = True
            self._done(self)
            self._report()

    def _drop_arguments(self) -> None:
        """Free the arguments of a large request, since its stream may outlive the handler and refers to the call."""
        self.request = replace(self.request, params=None)
        self._task = self._exchange = None
        del self._build_exchange

    @property
    def stream(self) -> str:
        """Return the name of the call's stream, or ""."""
        return self.writer.stream if self.writer is not None else ""

    @property
    def ending(self) -> Ending:
        """Return how the call ended."""
        if self._forced_ending is not None:
            return self._forced_ending
        if self.outcome is None:
            return Ending.CANCELLED
        return Ending.ERROR if self.outcome.failed else Ending.OK

    def _report(self) -> None:
        """Count and audit the call, after its response."""
        now = self._node.clock.now()
        seconds = max(0.0, now - self._started_at)
        if self.request.method != "subscriptions/listen":  # whose duration is up to the client
            self._node.call_metrics.record_call(self._operation(), self._version, now, seconds, self.ending)
        if self._is_audited:
            self._audit(seconds)

    def _operation(self) -> str:
        """Return the operation for metrics, without names from refused requests, which may not exist."""
        if self.outcome is not None and (self.outcome.error or {}).get("code") == METHOD_NOT_FOUND:
            return "unknown"  # clients may send any number of method names
        is_refused = self.request.hidden or (self.outcome is not None and self.outcome.error is not None)
        return self.request.method[:MAX_OPERATION] if is_refused else self.request.operation

    def _audit(self, seconds: float) -> None:
        observer, caller, params = self._node.observer, self.exchange().caller, self.request.params or {}
        keeps = observer.auditor is not None and observer.auditor.keeps_arguments
        observer.audit(
            ToolCalled(
                when=self._started_at + seconds,
                principal=caller.principal,
                tool=str(params.get("name", ""))[:200],
                outcome="cancelled" if self.outcome is None else "error" if self.outcome.failed else "ok",
                seconds=seconds,
                session=caller.own_session.short_id if caller.own_session is not None else "",
                address=caller.address,
                arguments=params.get("arguments") if keeps else None,
            )
        )

    async def _run(self) -> None:
        begin_handler()
        try:
            await self._serve()
        except BaseException as error:  # raised while a failure is logged
            if self._is_expected(error):
                raise
            self.outcome = _FAILED
            self.payload = encode(_FAILED.body(self.request.id))
        finally:
            self._end()

    async def _serve(self) -> None:
        try:
            async with self._context:
                outcome = await self._node.kernel.serve(self.request, self._version, self.exchange)
        except BaseException as error:  # not from a handler: the kernel turns its exceptions into outcomes
            if self._is_expected(error):
                raise
            logger.exception("the context of %s failed", self.request.method)
            outcome = _FAILED
        finally:
            if self._exchange is not None:
                self._exchange.ended = True
        try:
            self.payload = encode(outcome.body(self.request.id))
        except Exception:
            logger.exception("the result of %s cannot be encoded as JSON", self._operation())
            outcome = _FAILED
            self.payload = encode(outcome.body(self.request.id))
        if len(self.payload) > self._node.policy.max_result_bytes:
            outcome = self._too_large(len(self.payload))
            self.payload = encode(outcome.body(self.request.id))
        self.outcome = outcome

    def _is_expected(self, error: BaseException) -> bool:
        """Return whether an exception is a requested cancellation or an exit; handlers may also cancel themselves."""
        if isinstance(error, asyncio.CancelledError):
            return self._is_cancelled or self._node.tasks.is_ending
        return is_interrupt(error)

    def _too_large(self, size: int) -> Outcome:
        error = TooLarge("the result", size, self._node.policy.max_result_bytes)
        return self._node.kernel.too_large_outcome(self.request, self._version, error)

    def exchange(self) -> Exchange:
        """Return the kernel's context for handlers; it is built on first use, since many handlers do not need it."""
        if self._exchange is None:
            self._exchange = self._build_exchange(self.request)
        return self._exchange

    def abandon(self, reason: str, event: ClusterEvent | None = None) -> None:
        """Stop the handler, answer the client with the `reason`, and report `event` to operators."""
        if event is not None:
            key = self.writer.key if self.writer is not None else ""
            self._node.observer.report(event, key, node=self._node.id)
        safe = self._node.kernel.retry_safety(self.request).safe
        self._end_with_error(lost_call_error(reason, safe), Ending.LOST)

    def cancel_by_staff(self) -> None:
        """Stop the handler and answer the client, which has not requested it (JSON-RPC 2.0, section 5)."""
        self._end_with_error(cancelled_call_error("the server's staff"), Ending.CANCELLED)

    def _end_with_error(self, error: dict[str, Any], ending: Ending) -> None:
        self._forced_ending = ending
        self.outcome = Outcome(error=error)
        self.payload = encode(self.outcome.body(self.request.id))
        self.cancel()

    def cancel(self) -> None:
        """Stop the handler; a synchronous handler can only check `ctx.cancelled`, and its result is discarded.

        The request ends at once, whether or not the handler stops.
        """
        self._is_cancelled = True
        if self._exchange is not None:
            self._exchange.ended = self._exchange.caller.cancelled = True
            self._exchange.cancel_requested.set()
            self._exchange.channel.withdraw()
        if self._task is not None:
            self._task.cancel()
        self._end()


class SessionChannel:
    """The channel to the client for a request of a session."""

    def __init__(
        self, node: Node, writer: Writer, *, owner: str, log_level: str, can_stream: bool, polling: bool
    ) -> None:
        self._node, self._writer = node, writer
        self._owner, self._polling = owner, polling
        self._pending_requests: set[str] = set()
        self.log_level = log_level
        self.can_request = can_stream

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the stream, unless the client accepts only JSON or requests fewer log messages."""
        if self.can_request and not self._is_too_detailed(method, params):
            is_first = not self._writer.has_messages
            self._writer.write(encode_notification(method, params, self._node.policy.max_result_bytes))
            if is_first:
                await asyncio.sleep(0)  # sends it before a handler that never awaits continues

    def _is_too_detailed(self, method: str, params: Mapping[str, Any] | None) -> bool:
        if method != "notifications/message" or not self.log_level:
            return False
        level = (params or {}).get("level")
        return level in _LOG_LEVELS and _LOG_LEVELS.index(level) < _LOG_LEVELS.index(self.log_level)

    async def request(self, method: str, params: Mapping[str, Any] | None, seconds: float | None) -> dict[str, Any]:
        """Send a request to the client on the request's stream and wait for its reply."""
        seconds = seconds or self._node.policy.client_reply_timeout
        request_id = self._node.client_requests.new_id(self._owner, seconds)
        message = {
            "jsonrpc": "2.0",
            "id": request_id,
            "method": method,
            **({} if params is None else {"params": params}),
        }
        self._writer.write(within_limit(encode(message), self._node.policy.max_result_bytes))
        self._pending_requests.add(request_id)
        try:
            reply = await self._node.client_requests.wait_for_reply(request_id, seconds)
        except (TimeoutError, asyncio.CancelledError):
            self._withdraw(request_id)
            raise
        finally:
            self._pending_requests.discard(request_id)
        if reply.error is not None:
            raise ClientError(reply.error["code"], reply.error["message"], reply.error.get("data"))
        return dict(reply.result or {})

    def withdraw(self) -> None:
        """Cancel the pending requests to the client."""
        for request_id in tuple(self._pending_requests):
            self._withdraw(request_id)

    def _withdraw(self, request_id: str) -> None:
        # 2025-11-25, basic/lifecycle, "Timeouts".
        if request_id in self._pending_requests:
            self._pending_requests.remove(request_id)
            cancelled = {"requestId": request_id, "reason": "no longer needed"}
            self._writer.write(encode_notification("notifications/cancelled", cancelled))

    async def emit(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the session's GET stream."""
        await self._node.emit(self._writer.key, method, params)

    async def close_stream(self) -> None:
        """Close the socket of a client that supports polling and reconnects (2025-11-25)."""
        if self._polling and self.can_request:
            await self._writer.close_socket()
