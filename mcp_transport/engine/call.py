"""A running request."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import Context, copy_context
from dataclasses import replace
from typing import Final

from mcp_transport.domain.audit_events import ToolCalled
from mcp_transport.domain.circuit_breaker import Result
from mcp_transport.domain.current_call import CallLabel, current_call, label_fields
from mcp_transport.domain.history import AnyEnding, Ending, Failure, FailureKind
from mcp_transport.domain.principal import Principal
from mcp_transport.engine.admission import Limiters, is_limited, release
from mcp_transport.engine.audited_call import AuditedCall, audit_call
from mcp_transport.engine.call_failure import describe_failure, log_failure_of
from mcp_transport.engine.clock import Timer
from mcp_transport.engine.coalescing import READING_METHODS
from mcp_transport.engine.codec import encode
from mcp_transport.engine.memory_budget import Reservation
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.engine.writer import Writer
from mcp_transport.exceptions import Overloaded
from mcp_transport.kernel import CallLimits, CallPermit, Exchange, TooLarge, is_interrupt, is_measured, note_failure
from mcp_transport.protocol.errors import (
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    cancelled_call_error,
    lost_call_error,
    overloaded,
)
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import MAX_OPERATION, Outcome, Request

__all__ = ["FAILED", "Call", "no_context"]

logger = logging.getLogger(__name__)

FAILED: Final = Outcome(error={"code": INTERNAL_ERROR, "message": "Internal server error"})
"""The outcome of a call that failed outside of its handler."""


def no_context(
    request: HTTPRequest | None = None, principal: Principal | None = None
) -> AbstractAsyncContextManager[None]:
    """Return an empty context."""
    return nullcontext()


class Call:
    """A running request; it runs in a task of its node and does not depend on the socket that it came on."""

    def __init__(
        self,
        context: NodeContext,
        request: Request,
        version: str,
        sent: HTTPRequest,
        principal: Principal,
        *,
        build_exchange: Callable[[Request], Exchange],
        call_context: AbstractAsyncContextManager[None],
        limits: CallLimits,
        writer: Writer | None = None,
    ) -> None:
        """Prepare to run `request`, which `sent` carries, at a revision; the call of a session has a `writer`."""
        self.request, self.writer, self._context, self._call_context = request, writer, context, call_context
        self._version, self._sent, self._principal, self._build_exchange = version, sent, principal, build_exchange
        self._exchange: Exchange | None = None
        self.outcome: Outcome | None = None
        """None while the call runs, and after a cancellation by the client."""
        self.payload = b""
        """The outcome as a JSON-RPC response."""
        self._has_ended = self._is_audited = self._is_cancelled = False
        self._ended: Failure | None = None  # before the end, what forces it
        self._started_at = 0.0
        self._waited = 0.0  # how long the call has waited for its client when its timer last expired
        self.has_started = False
        """Has the call been admitted? One that still waits has had no effect."""
        self._limits = limits
        self._admitted: Limiters = ()
        self._caller = ""
        self._permit: CallPermit | None = None
        self.is_admitted = self._is_slow = False
        self._timer: Timer | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, done: Callable[[Call], None], memory: Reservation | None = None) -> None:
        """Start the call; `done` is called once, at the end. The `memory` of a large request is held until then."""
        self._started_at = self._context.clock.now()
        auditor, is_tool = self._context.observer.auditor, self.request.method == "tools/call"
        self._is_audited = is_tool and not self.request.hidden and auditor is not None and auditor.wants(ToolCalled)
        self._done = done
        self._begin(copy_context(), memory)
        if self._context.abandons_calls:  # admitted late, since the store was slow
            self.abandon_at_stop()

    def _begin(self, variables: Context, memory: Reservation | None) -> None:
        self._task = self._context.tasks.spawn(self._run(), variables)
        self._task.add_done_callback(lambda _: self._task_done())  # the task may be cancelled before it runs
        if memory is not None:
            self._task.add_done_callback(lambda _: self._drop_arguments())
            memory.hold_until_done(self._task)

    def _task_done(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            if self._timer is not None:
                self._timer.cancel()
            if self._permit is not None:
                self._permit.settle(Result.NOTHING)  # unless the tool's function has, or a timeout
            if self._context.shared_runs.by_owner:
                self._outdate_runs()
            if self._ended is not None or self.outcome is None or self.outcome.failed:
                self._ended = describe_failure(self._ended, self.request, self.outcome, self._context.policy)
            self._done(self)
            self._report()

    def _drop_arguments(self) -> None:
        """Free the arguments of a large request, since its stream may outlive the handler and refers to the call."""
        self.request = replace(self.request, params=None)
        self._task = self._exchange = None
        del self._build_exchange

    @property
    def _key(self) -> str:
        return self.writer.key if self.writer is not None else ""

    @property
    def stream(self) -> str:
        """Return the name of the call's stream, or ""."""
        return self.writer.stream if self.writer is not None else ""

    @property
    def label(self) -> CallLabel:
        """Return what log lines of the call have."""
        return self._key, self.request.id, self._principal, self.request.operation

    @property
    def ended(self) -> AnyEnding:
        """Return how the call ended and, without a result, why."""
        return self._ended or Ending.OK

    def _report(self) -> None:
        """Count and audit the call, after its response."""
        now = self._context.clock.now()
        seconds = max(0.0, now - self._started_at)
        if self.request.method != "subscriptions/listen":  # whose duration is up to the client
            operation, ending = self._operation(), Ending.OK if self._ended is None else self._ended.ending
            self._context.call_metrics.record_call(operation, self._version, now, seconds, ending, self._key)
            if is_measured():
                durations, http = self._context.kernel.durations, self._sent.http_version
                durations.record(operation, self._version, seconds, self.outcome, http)
            if self._ended is not None:
                log_failure_of(self._ended, self.label, seconds, self._context.id)
        if self._is_audited:
            peer, node = self._sent.peer, self._context.id
            call = AuditedCall(self.request, self.ended, self._principal, peer, self._key, node)
            audit_call(self._context.observer, call, when=now, seconds=seconds)

    def _operation(self) -> str:
        """Return the operation for metrics, without names from refused requests, which may not exist."""
        if self.outcome is not None and (self.outcome.error or {}).get("code") == METHOD_NOT_FOUND:
            return "unknown"  # clients may send any number of method names
        if not self.has_started and not self._context.kernel.has_method(self.request.method):
            return "unknown"
        is_refused = self.request.hidden or not self.has_started
        is_refused = is_refused or (self.outcome is not None and self.outcome.error is not None)
        return self.request.method[:MAX_OPERATION] if is_refused else self.request.operation

    async def _run(self) -> None:
        current_call.set(self.label)
        try:
            await self._serve()
        except BaseException as error:  # raised while a failure is logged
            if self._is_expected(error):
                raise
            self.outcome = FAILED
            self.payload = encode(FAILED.body(self.request.id))
        finally:
            self._end()

    async def _admit(self) -> None:
        """Wait until the call may run. Raises: Overloaded."""
        context, request, limits = self._context, self.request, self._limits
        admission, breaker = context.admission, limits.circuit_breaker
        if breaker is not None:
            context.breakers.check(request, breaker)
        self._caller = caller = self._principal.caller(self._sent.peer)
        if (admitted := admission.try_admit(caller, request, limits)) is None:
            self._queue()
            admitted = await admission.admit(caller, request, limits)
        self._admitted = admitted
        if breaker is not None:
            self._permit = context.breakers.enter(request, breaker, context.send_to_other_nodes)
        self.enter_admitted()

    def _queue(self) -> None:
        """Note that the call waits."""

    def enter_admitted(self) -> None:
        """Count the time of the timeout from now on."""
        self.is_admitted = True
        if self._is_slow and self._timer is None:
            self._start_timer()

    def _outdate_runs(self) -> None:
        """Let no request of the caller join a run that began before this call ended, if it may have changed data."""
        if self.request.method not in READING_METHODS and not self._limits.read_only:
            self._context.shared_runs.forget(self._principal.caller(self._sent.peer))

    def expect_timeout(self) -> None:
        """Start the timer of the timeout, as soon as the call is admitted; most calls end before they need one."""
        self._is_slow = True
        if self.is_admitted and self._timer is None and not self._has_ended:
            self._start_timer()

    def _start_timer(self) -> None:
        if (timeout := self._timeout) is not None:
            self._timer = self._context.clock.call_later(timeout, self._check_timeout)

    @property
    def _timeout(self) -> float | None:
        timeout = self._limits.timeout
        timeout = self._context.policy.tool_timeout if timeout is None else timeout
        return None if timeout == math.inf else timeout

    def _check_timeout(self) -> None:
        """End the call, unless it has waited for its client in between."""
        timeout = self._timeout or 0.0
        waited = self._exchange.channel.seconds_waited() if self._exchange is not None else 0.0
        if waited > self._waited:
            self._waited, more = waited, waited - self._waited
            self._timer = self._context.clock.call_later(more, self._check_timeout)
            return
        details = {"operation": self._operation(), **label_fields(("", *self.label[1:]))}
        self._context.observer.report(ClusterEvent.TIMED_OUT, self._key, **details)
        if self._permit is not None and self._permit.has_started:
            self._permit.settle(Result.FAILURE)
        outcome = self._context.kernel.timeout_outcome(self.request, self._version, timeout)
        self._end_with(outcome, Ending.ERROR, FailureKind.TIMEOUT)

    async def _serve(self) -> None:
        try:
            if is_limited(self.request):
                await self._admit()
            self.has_started = True
            async with self._call_context:
                outcome = await self._context.kernel.serve(self.request, self._version, self.handler_exchange)
        except Overloaded as error:
            note_failure(error)
            refused = overloaded(error)
            self._context.call_metrics.record_refusal(refused.reason)
            outcome = Outcome(
                error={"code": refused.code, "message": refused.message, "data": refused.data}, status=refused.status
            )
        except BaseException as error:  # not from a handler: the kernel turns its exceptions into outcomes
            if self._is_expected(error):
                raise
            note_failure(error)
            logger.exception("the context of %s failed", self.request.method)
            outcome = FAILED
        finally:
            if self._admitted:
                release(self._admitted, self._caller)
            if self._exchange is not None:
                self._exchange.ended = True
        self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        """Encode the outcome, unless it is too large."""
        try:
            self.payload = encode(outcome.body(self.request.id))
        except Exception as error:
            note_failure(error)
            logger.exception("the result of %s cannot be encoded as JSON", self._operation())
            outcome = FAILED
            self.payload = encode(outcome.body(self.request.id))
        limit = self._limits.max_result_bytes or self._context.policy.max_result_bytes
        if len(self.payload) > limit:
            excess = TooLarge("the result", len(self.payload), limit)
            outcome = self._context.kernel.too_large_outcome(self.request, self._version, excess)
            self.payload = encode(outcome.body(self.request.id))
        self.outcome = outcome

    def _is_expected(self, error: BaseException) -> bool:
        """Return whether an exception is a requested cancellation or an exit; handlers may also cancel themselves."""
        if isinstance(error, asyncio.CancelledError):
            return self._is_cancelled or self._context.tasks.is_ending
        return is_interrupt(error)

    def exchange(self) -> Exchange:
        """Return the kernel's context for handlers; it is built on first use, since many handlers do not need it."""
        if self._exchange is None:
            self._exchange = self._build_exchange(self.request)
        return self._exchange

    handler_exchange = exchange

    def abandon(self, reason: str, event: ClusterEvent | None = None) -> None:
        """Stop the handler, answer the client with the `reason`, and report `event` to operators."""
        if event is not None:
            self._context.observer.report(event, self._key, node=self._context.id)
        safe = not self.has_started or self._context.kernel.retry_safety(self.request).safe
        self._end_with(Outcome(error=lost_call_error(reason, safe)), Ending.LOST, FailureKind.LOST)

    def abandon_at_stop(self) -> None:
        """Stop the handler, because the node stops; `subscriptions/listen` ends by itself."""
        if self.request.method != "subscriptions/listen":
            self.abandon("the server stopped", ClusterEvent.ABANDONED)

    def cancel_by_staff(self) -> None:
        """Stop the handler and answer the client, which has not requested it (JSON-RPC 2.0, section 5)."""
        error = cancelled_call_error("the server's staff")
        self._end_with(Outcome(error=error), Ending.CANCELLED, FailureKind.BY_STAFF)

    def end_with_session(self) -> None:
        """Stop the handler, since its session has ended or another node has taken over its stream."""
        self._ended = self._ended or Failure(ending=Ending.CANCELLED, kind=FailureKind.SESSION_ENDED)
        self.cancel()

    def _end_with(self, outcome: Outcome, ending: Ending, kind: FailureKind) -> None:
        if not self._has_ended:
            self._ended = Failure(ending=ending, kind=kind)
        self.outcome = outcome
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
