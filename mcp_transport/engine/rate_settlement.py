"""Rate limits on one node: leases admit requests, and the store counts them in the background (ADR 37)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from mcp_transport.backends.base import Backend
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.rate_limit import Charge
from mcp_transport.engine.rate_buckets import ChargeSet, Refusal, Verdict
from mcp_transport.engine.rate_limiter import EntryCharges, RateLimiter, refused
from mcp_transport.engine.tasks import TaskSet
from mcp_transport.exceptions import BackendError, ProtocolError
from mcp_transport.protocol.errors import refused_for_load
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.request_checks import InitializePost, SessionlessPost, SessionPost

__all__ = ["RateSettlement"]

logger = logging.getLogger(__name__)

_SETTLE_AFTER_SECONDS: Final = 1.0
_SETTLE_TIMEOUT_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0  # after the store did not answer


class RateSettlement:
    """Applies the rate limits of a process to the requests of one node."""

    def __init__(self, limiter: RateLimiter, backend: Backend, tasks: TaskSet) -> None:
        self._limiter, self.buckets, self._tasks = limiter, limiter.buckets, tasks
        self._store, self._charges_at_entry = backend.rates, backend.sessions.charges_at_entry
        self._running: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_urgent = False
        self._requested: list[Charge] = []

    def charges(
        self, request: HTTPRequest, principal: Principal, work: SessionPost | SessionlessPost | InitializePost
    ) -> ChargeSet:
        """Return the charges of a POST. Raises: ProtocolError as `RateLimiter.charges`."""
        invalid = len(work.faults) if isinstance(work, SessionPost) else 0
        return self._limiter.charges(request, principal, work.messages, invalid)

    async def admit_post(
        self, charges: ChargeSet, work: SessionPost | SessionlessPost | InitializePost
    ) -> EntryCharges | None:
        """Charge a POST, or return the charges that are left to the store, which admits it to its session.

        Raises:
            ProtocolError: 429 beyond a limit; 503 if the store does not answer and RATE_LIMITS_WITHOUT_STORE says so.
        """
        if self._charges_at_entry and isinstance(work, SessionPost):
            return self._admit_to_session(charges)
        await self.charge(charges)
        return None

    def _admit_to_session(self, charges: ChargeSet) -> EntryCharges | None:
        """Charge a POST if all its limits are far, as elsewhere; otherwise leave the exact decision to the store.

        Raises:
            ProtocolError: 429 for a request that the store need not be asked about.
        """
        if not charges.charges:
            return None
        if self._store is not None and not self.buckets.is_store_away:
            verdict = self.buckets.admit(charges, settles=True, leased=True, only_far=True)
            if verdict is Verdict.ADMITTED or verdict is Verdict.URGENT:
                self._settle_later(urgent=verdict is Verdict.URGENT)
                return None
        if (refusal := self.buckets.refusal(charges)) is not None:
            raise refused(refusal)
        if self.buckets.are_pending(charges):  # the store now decides: it needs to know
            self._settle_later(urgent=True)
        return EntryCharges(charges.charges, self.buckets, self.buckets.now())

    async def admit_get(self, request: HTTPRequest, principal: Principal) -> None:
        """Charge a GET. Raises: ProtocolError as `admit_post`."""
        await self.charge(self._limiter.get_charges(request, principal))

    async def charge(self, charges: ChargeSet) -> None:
        """Charge all buckets; wait for the store if a lease is used up. Raises: ProtocolError as `admit_post`."""
        while charges.charges:
            settles = leased = self._store is not None
            if self.buckets.is_store_away:
                settles, leased = await self._try_store(charges.charges), False
            verdict = self.buckets.admit(charges, settles=settles, leased=leased)
            if isinstance(verdict, Refusal):
                raise refused(verdict)
            if verdict is not Verdict.EXHAUSTED:
                if settles and (self._timer is None or verdict is Verdict.URGENT):
                    self._settle_later(urgent=verdict is Verdict.URGENT)
                return
            await self._settle(charges.charges)

    async def _try_store(self, charges: Sequence[Charge]) -> bool:
        """Return whether the store, which did not answer, is to be tried again with these charges.

        Raises:
            ProtocolError: 503 if requests are refused without the store.
        """
        may_retry = self.buckets.now() >= self.buckets.retry_at
        if self._limiter.limits.refuses_without_store:
            if may_retry:
                await self._settle(charges)
            if self.buckets.is_store_away:
                raise _store_away()
        return may_retry

    async def flush(self) -> None:
        """Have the store count everything, before the node stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for _ in range(2):  # one that runs lacks what was admitted since
            if self._running is not None or (self.buckets.has_pending and self._store is not None):
                await self._settle()

    def _settle_later(self, *, urgent: bool) -> None:
        if self._running is not None:
            self._is_urgent = self._is_urgent or urgent
        elif urgent:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_AFTER_SECONDS, self._start)

    def _start(self) -> asyncio.Task[None]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is None:
            self._running = self._tasks.spawn(self._run())
        return self._running

    async def _settle(self, charges: Sequence[Charge] = ()) -> None:
        """Wait for the running settlement; without one, send what is pending, and read the buckets of `charges`."""
        if self._running is None:
            self._requested += charges
        await asyncio.shield(self._running or self._start())

    async def _run(self) -> None:
        try:
            await self._exchange()
        finally:
            self._running = None
        if self.buckets.has_pending and not self.buckets.is_store_away:
            urgent, self._is_urgent = self._is_urgent, False
            self._settle_later(urgent=urgent)

    async def _exchange(self) -> None:
        """Send the pending cost to the store, and take over the fills that it reports."""
        requested, self._requested = self._requested, []
        sent, since = self.buckets.take_unsettled(requested), self.buckets.now()
        if not sent or self._store is None:
            return
        try:
            async with asyncio.timeout(_SETTLE_TIMEOUT_SECONDS):
                fills = await self._store.settle([item.charge for item in sent])
        except (BackendError, TimeoutError) as error:
            if not self.buckets.is_store_away:
                logger.warning("the store does not count requests for rate limits: %r", error)
            self.buckets.not_settled(sent, self.buckets.now() + _RETRY_SECONDS)
        except BaseException:
            self.buckets.not_settled(sent)
            raise
        else:
            self.buckets.settled(sent, fills, since)


def _store_away() -> ProtocolError:
    return refused_for_load(
        503,
        "the store that counts requests does not answer; try again",
        limit="RATE_LIMITS",
        key="server",
        seconds=_RETRY_SECONDS,
    )
