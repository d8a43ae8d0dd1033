"""A request that may share the run of an equal one (docs/adr/0038)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextvars import Context

from mcp_transport.domain.circuit_breaker import Result
from mcp_transport.domain.history import Ending, FailureKind
from mcp_transport.domain.principal import ANONYMOUS
from mcp_transport.engine.call import FAILED, Call
from mcp_transport.engine.coalescing import Key, SharedRun, request_key, shared_key, without_caller
from mcp_transport.engine.memory_budget import Reservation
from mcp_transport.kernel import (
    Caller,
    ClientChannel,
    ClientInfo,
    Exchange,
    JoinedSpan,
    Listener,
    copy_span,
    is_traced,
    observe_spans,
)
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Outcome

__all__ = ["CoalescedCall"]

logger = logging.getLogger(__name__)


class CoalescedCall(Call):
    """A call that runs its handler for itself and those that join it, or waits for the run of an equal call.

    One that waits has no task and no place in a limit. Each has its own timeout, limit of its result, and ending.
    """

    # Not in the dict: instances with more than thirty attributes there do not share its keys, which costs 5 µs.
    __slots__ = (
        *("_anonymous", "_language", "_own_exchange", "_shared", "_span", "_variables"),
        *("caller", "owner", "target"),
    )

    # -- joining -------------------------------------------------------------------------------------

    def _begin(self, variables: Context, memory: Reservation | None) -> None:
        self._shared: SharedRun | None = None
        self._own_exchange: Exchange | None = None  # with the own client alone, if others have joined
        self._anonymous: Exchange | None = None
        self._span: JoinedSpan | None = None  # while it waits for the run of another one
        self._variables, self._language, self.target = variables, "", self.request.operation
        self.caller = self._principal.caller(self._sent.peer)
        self.owner: str | None = self.caller
        # A large request is not compared; one that is refused as if its target did not exist runs nothing.
        if memory is not None or self.request.hidden or not self._sent.streaming:
            super()._begin(variables, memory)
            return
        if self.request.method == "resources/read":
            self.target = str((self.request.params or {}).get("uri"))
        elif self._limits.shared:
            # Now, since others may ask for the key, and start the run, in their own context.
            self.owner, self._language = None, self._context.shared_contexts.language()
        self._join()

    def _join(self) -> None:
        self._shared = run = self._context.shared_runs.enter(self)
        if run is None or run.leader is self:
            self._lead()
            return
        if is_traced(self.request.meta):
            message = self.request, self._version
            self._span = JoinedSpan(self._variables, self._context.kernel.server, message, self.exchange, run.spans)
        if run.leader.is_admitted:
            self.enter_admitted()

    def _lead(self) -> None:
        variables = self._variables
        if self._limits.shared:
            contexts = self._context.shared_contexts
            self._call_context, variables = contexts.enter(self.caller), contexts.variables(self._language)
            copy_span(self._variables, variables)
            self.request = without_caller(self.request)
        if self._shared is not None and is_traced(self.request.meta):
            observe_spans(variables, self._shared.spans)
        super()._begin(variables, None)

    def make_key(self) -> Key | None:
        """Return what must be equal in two requests that share a run; None if the request shares none."""
        if self._limits.shared:
            return shared_key(self.request, self._version, self._language)
        session = self.writer.key if self.writer is not None else ""
        # A copy, since the handler that runs in these variables may itself send the second request.
        language = self._variables.copy().run(self._context.shared_contexts.language)
        return request_key(self.request, self._version, self._sent, self._principal, session, language)

    def restart(self, *, alone: bool) -> None:
        """Leave the run, and wait for another one; `alone` for one of its own."""
        self._shared = None
        self._end_span()
        if not self._has_ended:
            (self._lead if alone else self._join)()

    # -- the run -------------------------------------------------------------------------------------

    def _queue(self) -> None:
        if self._shared is not None:
            self._shared.queue()

    def enter_admitted(self) -> None:
        """Count the time of the timeout from now on, also that of the calls that have joined."""
        super().enter_admitted()
        self.has_started = True
        if self._shared is not None and self._shared.leader is self:
            self._shared.admit()

    def handler_exchange(self) -> Exchange:
        """Return the exchange of the handler, which speaks to all that wait."""
        if (exchange := self._exchange) is None or self._limits.shared:
            exchange = self.exchange()
            if self._limits.shared:
                self._anonymous = self._anonymous or _anonymous(exchange)
                return self._anonymous
        exchange.audience = self
        return exchange

    def exchanges(self) -> Sequence[Listener]:
        """Return the exchange of each request that waits now; none while only the first one does."""
        run = self._shared
        if run is None or (self._own_exchange is None and not run.followers):
            return ()
        if self._own_exchange is None:
            self._own_exchange = self.exchange().for_own_client()
            self._own_exchange.ended = run.has_left
        followers = [follower.exchange() for follower in run.followers]
        return followers if run.has_left else [self._own_exchange, *followers]

    def claim(self) -> bool:
        """Leave the handler to this request; return whether that still waits."""
        run, self._shared = self._shared, None
        return run is None or run.claim()

    def close(self) -> None:
        """Let no further request wait for the handler."""
        if self._shared is not None:
            self._shared.close()

    def _settle(self, outcome: Outcome) -> None:
        if not self._has_ended:
            super()._settle(outcome)
        if self._exchange is not None:
            self._exchange.audience = None  # which refers to the call
        if self._shared is not None:
            self._finish(outcome)

    def _end(self) -> None:
        self._end_span()
        super()._end()

    def _end_span(self) -> None:
        span, self._span = self._span, None
        if span is not None:
            span.end(self.outcome)

    def _task_done(self) -> None:
        super()._task_done()
        if self._permit is not None:
            self._permit.settle(Result.NOTHING)  # unless the handler, which may have gone on for others, has
        if self._exchange is not None:
            self._exchange.audience = None
        if self._shared is not None:
            self._finish(None)

    def _finish(self, outcome: Outcome | None) -> None:
        run, self._shared = self._shared, None
        if run is not None:
            run.finish(outcome)

    def receive(self, outcome: Outcome | None, caller: str) -> None:
        """Take the outcome of the run that `caller` has started; None if it has none."""
        if outcome is not None and outcome.status and caller != self.caller:
            self.restart(alone=False)  # the other caller has used up its share
            return
        self._shared = None
        if self._exchange is not None:
            self._exchange.ended = True
        try:
            if not self._has_ended and not self._context.tasks.is_ending:
                super()._settle(outcome or FAILED)
                self._context.call_metrics.record_coalesced()
            self._end()
        except Exception:  # the others must get their answers
            logger.exception("the answer to a coalesced %s failed", self.request.method)

    # -- the end of one that waits -------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop waiting; the handler stops when nobody waits for it."""
        if self._shared is None or not self._shared.leave(self):
            self.stop()
            return
        if self._own_exchange is not None:
            self._own_exchange.ended = True
        permit, self._permit = self._permit, None  # which is settled when the handler ends
        self._end()
        self._permit = permit

    def stop(self) -> None:
        """Cancel the handler."""
        super().cancel()

    def _end_with(self, outcome: Outcome, ending: Ending, kind: FailureKind) -> None:
        if kind is FailureKind.TIMEOUT:  # who comes now would wait for what may never end
            self.close()
            if self._shared is not None:
                self._shared.leader.count_timeout()
        super()._end_with(outcome, ending, kind)

    def count_timeout(self) -> None:
        """Count a timeout of one that waits for the handler as a failure, unless that has not been called yet."""
        if self._permit is not None and self._permit.has_started:
            self._permit.settle(Result.FAILURE)


def _anonymous(exchange: Exchange) -> Exchange:
    """Return an exchange that shows nothing of the caller, and sends it nothing."""
    return Exchange(
        client=ClientInfo(protocol_version=exchange.client.protocol_version),
        channel=ClientChannel(),
        caller=Caller(HTTPRequest(method="POST", headers=Headers(())), ANONYMOUS),
        lifespan=exchange.lifespan,
        request_id=exchange.request_id,
    )
