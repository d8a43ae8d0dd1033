"""Requests are brought to an endpoint that works, as often as that is safe."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import httpx2
import tenacity

from mcp_transport.client.attempt import AttemptFailed, attempt
from mcp_transport.client.circuit_breaker import RetryBudget
from mcp_transport.client.endpoints import Endpoint, Endpoints
from mcp_transport.client.errors import ClientError, EndpointsUnavailable, ResultUnknown
from mcp_transport.client.requests import Outgoing
from mcp_transport.client.sessions import SessionState

__all__ = ["Delivery", "Limits", "final_error"]

logger = logging.getLogger(__name__)

# Seconds between two rounds over the endpoints, exponential with full jitter.
_BACKOFF: Final = tenacity.wait_random_exponential(multiplier=0.2, min=0.05, max=2.0)
# draft-ietf-httpapi-idempotency-key-header
_KEY: Final = "idempotency-key"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a client waits."""

    deadline: float
    """Until an endpoint begins to answer a request, whatever fails meanwhile."""
    attempt_timeout: float
    """Until the next endpoint gets a request that may be repeated."""
    idle_timeout: float
    """Without a byte on a stream that can be resumed elsewhere."""

    def __post_init__(self) -> None:
        for option in ("deadline", "attempt_timeout", "idle_timeout"):
            seconds = getattr(self, option)
            if not (isinstance(seconds, int | float) and seconds > 0):
                raise ValueError(f"{option} must be a number of seconds above 0, not {seconds!r}")


class _AllFailed(Exception):
    """No endpoint answered in this round."""

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait
        """Seconds that the endpoints asked for, or none."""


class _Exhausted(Exception):
    """There is no time, or no retry, left."""


class Delivery:
    """Sends requests to one endpoint after the other, within one deadline and one retry budget."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        endpoints: Endpoints,
        session: SessionState,
        limits: Limits,
        is_idempotent: Callable[[str], Awaitable[bool]],
    ) -> None:
        """Take what sends a request to one URL, and what tells whether a tool may be called twice."""
        self._http, self._endpoints, self._session, self.limits = http, endpoints, session, limits
        self._is_idempotent = is_idempotent
        self._budget = RetryBudget(filled=time.monotonic())
        self.keep_seconds = 0.0
        """How long the server keeps answers for idempotency keys."""

    async def may_repeat(self, outgoing: Outgoing) -> bool:
        """Tell whether a request that may have run can be sent again, in its session."""
        is_kept = _KEY in outgoing.headers and time.monotonic() < outgoing.not_ended_at + self.keep_seconds
        return is_kept or await self.may_run_twice(outgoing)

    async def may_run_twice(self, outgoing: Outgoing) -> bool:
        """Tell whether a second run of a request does no harm."""
        if outgoing.is_repeatable or outgoing.verb != "POST":
            return True
        if outgoing.tool and not outgoing.is_idempotent:
            outgoing.is_idempotent = await self._is_idempotent(outgoing.tool)
        return outgoing.is_idempotent

    async def send(self, outgoing: Outgoing) -> httpx2.Response:
        """Return the first answer of an endpoint; its body is read if it is no stream.

        Raises:
            EndpointsUnavailable: none answered within the deadline, or the retry budget is spent.
            ResultUnknown: the answer was lost, and the request may not be repeated.
        """
        if self.keep_seconds and outgoing.tool and outgoing.verb == "POST":
            outgoing.headers.setdefault(_KEY, f'"{secrets.token_hex(16)}"')
        failures: dict[str, str] = {}
        seconds = self._seconds(outgoing)
        try:
            async with asyncio.timeout(seconds):
                return await self._rounds(outgoing, failures, time.monotonic() + seconds)
        except TimeoutError:
            problem = f"no endpoint answered within {seconds:g} s"
        except _Exhausted as error:
            problem = str(error)
        raise final_error(outgoing, problem, self._endpoints.errors() | failures)

    def _seconds(self, outgoing: Outgoing) -> float:
        if outgoing.is_listening:
            return float("inf")
        # Nobody waits for the end of a session.
        return self.limits.attempt_timeout if outgoing.verb == "DELETE" else self.limits.deadline

    async def _rounds(self, outgoing: Outgoing, failures: dict[str, str], until: float) -> httpx2.Response:
        try:
            return await self._round(outgoing, failures, until)
        except _AllFailed as error:
            first = error  # a retry context takes time, which most requests need not
        again = tenacity.retry_if_exception_type(_AllFailed)
        async for round_ in tenacity.AsyncRetrying(retry=again, wait=_backoff, reraise=True):
            with round_:
                if round_.retry_state.attempt_number == 1:
                    raise first
                return await self._round(outgoing, failures, until)
        raise AssertionError("a loop of retries ends with a result or an error")

    async def _round(self, outgoing: Outgoing, failures: dict[str, str], until: float) -> httpx2.Response:
        """Try each endpoint that is not known to be down; to try one again is a retry, and costs of the budget."""
        if outgoing.is_cancelled:
            raise _Exhausted("the request was cancelled")
        asked_to_wait = 0.0
        for endpoint in self._endpoints.available(self.limits.attempt_timeout):
            await self._refuse_second_run(outgoing, failures)
            if endpoint.name in failures and not self._budget.take(time.monotonic()):
                raise _Exhausted("too many requests of this client had to be repeated")
            try:
                return await self._attempt(endpoint, outgoing, failures)
            except AttemptFailed as failure:
                failures[endpoint.name] = failure.reason
                asked_to_wait = max(asked_to_wait, failure.retry_after)
                if outgoing.is_listening and failure.is_sent:
                    raise _AllFailed(asked_to_wait) from failure  # the others may not know the session
        await self._refuse_second_run(outgoing, failures)
        wait = self._endpoints.wait() if asked_to_wait else 0.0
        if wait > until - time.monotonic():
            raise _Exhausted(
                f"no endpoint takes requests before {wait:.0f} s have passed, which is beyond the deadline"
            )
        raise _AllFailed(wait)

    async def _refuse_second_run(self, outgoing: Outgoing, failures: Mapping[str, str]) -> None:
        """Give a request up that may have run, and must not run again. Raises: ResultUnknown."""
        if outgoing.may_have_run and not await self.may_repeat(outgoing):
            lost = "the answer was lost, and the request may have run"
            raise ResultUnknown(lost, retryable=False, endpoints=failures)

    async def _attempt(self, endpoint: Endpoint, outgoing: Outgoing, failures: dict[str, str]) -> httpx2.Response:
        begun = time.monotonic()
        failures.setdefault(endpoint.name, "no answer")  # in case that the deadline ends this attempt
        if not outgoing.may_have_run:
            outgoing.not_ended_at = begun
        had_run, outgoing.may_have_run = outgoing.may_have_run, True
        session_id = "" if outgoing.method == "initialize" and outgoing.verb == "POST" else self._session.id
        seconds = self.limits.idle_timeout if outgoing.is_listening else self.limits.attempt_timeout
        try:
            response = await attempt(
                self._http, endpoint, outgoing, session_id, seconds, lambda: self.may_repeat(outgoing)
            )
        except AttemptFailed as failure:
            outgoing.may_have_run = had_run or failure.may_have_run
            logger.info("endpoint %s failed: %s", endpoint.name, failure.reason)
            if not outgoing.is_listening:  # an endpoint may have streams for few, and answers for all
                note = self._endpoints.rests if failure.works else self._endpoints.failed
                note(endpoint, failure.reason, failure.retry_after)
            raise
        outgoing.may_have_run = had_run
        self._endpoints.answered(endpoint, time.monotonic() - begun)
        return response


def final_error(outgoing: Outgoing, problem: str, endpoints: Mapping[str, str] = MappingProxyType({})) -> ClientError:
    """Return what a request ends with that got no answer; a caller's repetition has another idempotency key."""
    if outgoing.may_have_run and not (outgoing.is_repeatable or outgoing.is_idempotent):
        return ResultUnknown(f"{problem}, and the request may have run", retryable=False, endpoints=endpoints)
    return EndpointsUnavailable(problem, retryable=True, endpoints=endpoints)


def _backoff(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next round, at least those that the endpoints asked for."""
    error = state.outcome.exception() if state.outcome is not None else None
    return _BACKOFF(state) + (error.wait if isinstance(error, _AllFailed) else 0.0)
