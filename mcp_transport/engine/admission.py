"""Admission: how many calls of a node run at a time, in total, of one caller, and of one tool."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from mcp_transport.concurrency import ConcurrencyLimit, ConcurrencyLimiter
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.clock import Clock
from mcp_transport.exceptions import Overloaded
from mcp_transport.kernel import CallLimits
from mcp_transport.protocol.errors import overloaded
from mcp_transport.protocol.jsonrpc import LIGHT_METHODS, Request

__all__ = ["Admission", "Limiters", "is_limited", "release", "thread_limit"]

# The share of a scarce thing that one caller may have, so that calls which never return leave some of it to others.
_SHARE_PER_CALLER: Final = 0.75


Limiters = tuple[ConcurrencyLimiter, ...]


def is_limited(request: Request) -> bool:
    """Return whether the number of such requests that run at a time is limited."""
    # What runs no function of the project must work beside any number of calls.
    return request.method not in LIGHT_METHODS and not request.hidden


def thread_limit(policy: Policy) -> ConcurrencyLimit:
    """Return the limit of the threads for synchronous functions."""
    return _shared_limit(policy, "TOOL_THREADS", "server", policy.tool_threads)


class Admission:
    """Decides when the calls of one node run; `threads` limits the threads for synchronous functions."""

    def __init__(
        self, policy: Policy, clock: Clock, threads: ConcurrencyLimiter, record_wait: Callable[[float], None]
    ) -> None:
        """Pass the seconds that each call has waited to `record_wait`."""
        self._policy, self._clock, self._record_wait = policy, clock, record_wait
        self.threads, threads.record_wait = threads, record_wait
        self.calls = self._limiter(_call_limit(policy))
        self._only_calls: Limiters = (self.calls,)
        self.tools: dict[str, ConcurrencyLimiter] = {}
        """The limits of the tools that have one of their own."""

    @property
    def waiting(self) -> int:
        """Return how many calls wait, for whatever limit."""
        return sum(limiter.waiting for limiter in (self.calls, self.threads, *self.tools.values()))

    @property
    def has_lost_all_threads(self) -> bool:
        """Return whether no synchronous function can run any more, until one of those that run returns."""
        return self.threads.lost >= self.threads.limit.running

    def check(self, caller: str, request: Request, limits: CallLimits) -> None:
        """Check that a call would run or wait, before anything is done for it. Raises: ProtocolError, 429 or 503."""
        try:
            for limiter in self._limiters(request, limits):
                limiter.check(caller)
            if limits.uses_thread:
                self.threads.check(caller)
        except Overloaded as error:
            if is_limited(request):  # only now, because hardly any request would be refused
                raise overloaded(error) from None

    def try_admit(self, caller: str, request: Request, limits: CallLimits) -> Limiters | None:
        """Admit a call at once and return what it has acquired, or return None if it must wait."""
        limiters = self._limiters(request, limits)
        for number, limiter in enumerate(limiters):
            if not limiter.try_acquire(caller):
                release(limiters[:number], caller)
                return None
        return limiters

    async def admit(self, caller: str, request: Request, limits: CallLimits) -> Limiters:
        """Wait until a call may run, and return what it has acquired. Raises: Overloaded."""
        limiters, acquired = self._limiters(request, limits), 0
        try:
            for limiter in limiters:
                await limiter.acquire(caller)
                acquired += 1
        except BaseException:
            release(limiters[:acquired], caller)
            raise
        return limiters

    def _limiters(self, request: Request, limits: CallLimits) -> Limiters:
        """Return the limiters of a call, in the order in which all calls acquire them: the scarcest first.

        A synchronous tool acquires a thread later. It counts there only: calls that wait for a thread must not take
        the places of asynchronous ones.
        """
        others = () if limits.uses_thread else self._only_calls
        if limits.max_concurrency is None:
            return others
        limiter = self.tools.get(request.operation)
        if limiter is None:
            limit = _shared_limit(self._policy, "max_concurrency", "tool", limits.max_concurrency)
            limiter = self.tools[request.operation] = self._limiter(limit)
        return (limiter, *others)

    def _limiter(self, limit: ConcurrencyLimit) -> ConcurrencyLimiter:
        limiter = ConcurrencyLimiter(limit, self._clock.timeout)
        limiter.record_wait = self._record_wait
        return limiter


def release(limiters: Limiters, caller: str) -> None:
    """Release what a call has acquired."""
    for limiter in reversed(limiters):
        limiter.release(caller)


def _call_limit(policy: Policy) -> ConcurrencyLimit:
    return ConcurrencyLimit(
        name="MAX_CONCURRENT_CALLS",
        scope="server",
        running=policy.max_concurrent_calls,
        running_per_caller=min(policy.max_concurrent_calls, policy.max_concurrent_calls_per_caller),
        waiting=policy.max_queued_calls,
        waiting_per_caller=policy.max_queued_calls_per_caller,
        wait_seconds=policy.queue_timeout,
    )


def _shared_limit(policy: Policy, name: str, scope: str, running: int) -> ConcurrencyLimit:
    """Return a limit of which one caller may have the larger share only."""
    return ConcurrencyLimit(
        name=name,
        scope=scope,
        running=running,
        running_per_caller=math.ceil(running * _SHARE_PER_CALLER),
        waiting=policy.max_queued_calls,
        waiting_per_caller=policy.max_queued_calls_per_caller,
        wait_seconds=policy.queue_timeout,
    )
