"""Admission: how many calls of a node run at a time, in total, of one caller, and of one tool."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

from mcp_transport.concurrency import ConcurrencyLimit, ConcurrencyLimiter
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.clock import Clock
from mcp_transport.exceptions import Overloaded
from mcp_transport.kernel import CallLimits
from mcp_transport.protocol.errors import overloaded
from mcp_transport.protocol.jsonrpc import LIGHT_METHODS, Request

__all__ = ["Admission", "AdmittedCall", "is_limited", "thread_limit"]

# The share of a scarce thing that one caller may have, so that calls which never return leave some of it to others.
_SHARE_PER_CALLER: Final = 0.75


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

    def check(self, caller: str, requests: Iterable[Request], limits: Callable[[Request], CallLimits]) -> None:
        """Check that calls would run or wait, before anything is done for them. Raises: ProtocolError, 429 or 503."""
        try:
            for request in filter(is_limited, requests):
                self._check(caller, request, limits(request))
        except Overloaded as error:
            raise overloaded(error) from None

    def _check(self, caller: str, request: Request, limits: CallLimits) -> None:
        for limiter in self._limiters(request, limits):
            limiter.check(caller)
        if limits.uses_thread:
            self.threads.check(caller)

    def try_admit(self, caller: str, request: Request, limits: CallLimits) -> AdmittedCall | None:
        """Admit a call at once, or return None if it must wait."""
        admitted = AdmittedCall(caller)
        for limiter in self._limiters(request, limits):
            if not limiter.try_acquire(caller):
                admitted.release()
                return None
            admitted.add(limiter.release)
        return admitted

    async def admit(self, caller: str, request: Request, limits: CallLimits) -> AdmittedCall:
        """Wait until a call may run. Raises: Overloaded."""
        admitted = AdmittedCall(caller)
        try:
            for limiter in self._limiters(request, limits):
                await limiter.acquire(caller)
                admitted.add(limiter.release)
        except BaseException:
            admitted.release()
            raise
        return admitted

    def _limiters(self, request: Request, limits: CallLimits) -> tuple[ConcurrencyLimiter, ...]:
        """Return the limiters of a call, in the order in which all calls acquire them: the scarcest first.

        A synchronous tool acquires a thread later. It counts there only: calls that wait for a thread must not take
        the places of asynchronous ones.
        """
        others = () if limits.uses_thread else (self.calls,)
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


class AdmittedCall:
    """What a running call has acquired, until it is released."""

    __slots__ = ("_caller", "_releases")

    def __init__(self, caller: str) -> None:
        self._caller = caller
        self._releases: list[Callable[[str], None]] = []

    def add(self, release: Callable[[str], None]) -> None:
        """Add something that was acquired."""
        self._releases.append(release)

    def release(self) -> None:
        """Release everything, once."""
        while self._releases:
            self._releases.pop()(self._caller)


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
