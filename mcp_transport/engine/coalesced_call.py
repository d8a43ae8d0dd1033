"""A request that may share the run of an equal one (docs/adr/0038)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextvars import Context
from typing import Any

from mcp_transport.domain.history import Ending
from mcp_transport.domain.principal import ANONYMOUS
from mcp_transport.engine.call import FAILED, Call
from mcp_transport.engine.coalescing import Key, SharedRun, request_key, shared_key
from mcp_transport.engine.memory_budget import Reservation
from mcp_transport.kernel import Caller, ClientChannel, ClientInfo, Exchange, SharedExchange
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Outcome

__all__ = ["CoalescedCall"]

logger = logging.getLogger(__name__)


class CoalescedCall(Call):
    """A call that runs its handler for itself and those that join it, or waits for the run of an equal call.

    One that waits has no task and no place in a limit. Each has its own timeout, limit of its result, and ending.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.caller = self._principal.caller(self._sent.peer)
        self.owner = None if self._limits.shared else self.caller
        uri = (self.request.params or {}).get("uri")
        self.target = uri if isinstance(uri, str) else self.request.operation
        self._shared: SharedRun | None = None
        self._variables: Context | None = None
        # Now, since others may ask for the key, and start the run, in their own context.
        self._language = self._context.shared_contexts.language() if self._limits.shared else ""
        self._shared_exchange: SharedExchange | None = None
        self._run_outcome: Outcome | None = None

    # -- joining -------------------------------------------------------------------------------------

    def _begin(self, variables: Context, memory: Reservation | None) -> None:
        # A large request is not compared; one that is refused as if its target did not exist runs nothing.
        if memory is not None or self.request.hidden or not self._sent.streaming:
            super()._begin(variables, memory)
            return
        self._variables = variables
        self._shared = run = self._context.shared_runs.enter(self)
        if run is None or run.leader is self:
            self._lead(variables)
        elif run.leader.is_admitted:
            self.enter_admitted()

    def _lead(self, variables: Context) -> None:
        if self._limits.shared:
            contexts = self._context.shared_contexts
            self._call_context, variables = contexts.enter(self.caller), contexts.variables(self._language)
        super()._begin(variables, None)
        if self._task is not None:
            self._task.add_done_callback(lambda _: self._finish())  # it may be cancelled before it runs

    def make_key(self) -> Key | None:
        """Return what must be equal in two requests that share a run; None if the request shares none."""
        if self._limits.shared:
            return shared_key(self.request, self._version, self._language)
        session = self.writer.key if self.writer is not None else ""
        return request_key(self.request, self._version, self._sent, self._principal, session)

    def restart(self, *, alone: bool) -> None:
        """Leave the run, and wait for another one; `alone` for one of its own."""
        self._shared = None
        if self._has_ended or self._variables is None:
            return
        if alone:
            self._lead(self._variables)
        else:
            self._begin(self._variables, None)

    # -- the run -------------------------------------------------------------------------------------

    def _queue(self) -> None:
        if self._shared is not None:
            self._shared.queue()

    def enter_admitted(self) -> None:
        """Count the time of the timeout from now on, also that of the calls that have joined."""
        super().enter_admitted()
        if self._shared is not None and self._shared.leader is self:
            self._shared.admit()

    def handler_exchange(self) -> Exchange:
        """Return the exchange of the handler, which speaks to all that wait."""
        if self._shared is None:
            return self._shared_exchange or self.exchange()
        if self._shared_exchange is None:
            own = self.exchange()
            is_shared = self._limits.shared
            self._shared_exchange = SharedExchange(
                client=ClientInfo(protocol_version=self._version) if is_shared else own.client,
                channel=ClientChannel() if is_shared else own.channel,
                caller=_anonymous_caller() if is_shared else own.caller,
                lifespan=own.lifespan,
                request_id=own.request_id,
                meta=own.meta,
                audience=self,
            )
        return self._shared_exchange

    def exchanges(self) -> Sequence[Exchange]:
        """Return the exchange of each request that waits now."""
        if self._shared is None:
            return [self.exchange()]
        return [waiter.exchange() for waiter in self._shared.waiters()]

    def claim(self) -> bool:
        """Leave the handler to this request; return whether that still waits."""
        run, self._shared = self._shared, None
        return run is None or run.claim()

    def close(self) -> None:
        """Let no further request wait for the handler."""
        if self._shared is not None:
            self._shared.close()

    async def _run(self) -> None:
        try:
            await super()._run()
        finally:
            self._finish()

    def _settle(self, outcome: Outcome) -> None:
        self._run_outcome = outcome
        if not self._has_ended:
            super()._settle(outcome)

    def _finish(self) -> None:
        if self._shared_exchange is not None:
            self._shared_exchange.ended = True
        run, self._shared = self._shared, None
        if run is not None:
            run.finish(self._run_outcome)

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
        if self._exchange is not None:
            self._exchange.ended = True
        self._end()

    def stop(self) -> None:
        """Cancel the handler."""
        if (exchange := self._shared_exchange) is not None:
            exchange.ended = exchange.caller.cancelled = True
            exchange.cancel_requested.set()
        super().cancel()

    def _end_with(self, outcome: Outcome, ending: Ending) -> None:
        if ending is Ending.ERROR:  # a timeout: who comes now would wait for what may never end
            self.close()
        super()._end_with(outcome, ending)


def _anonymous_caller() -> Caller:
    """Describe the caller of a run that belongs to none."""
    return Caller(HTTPRequest(method="POST", headers=Headers(())), ANONYMOUS)
