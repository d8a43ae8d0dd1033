"""Sends requests to working endpoints, with retries where a second run is safe."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import httpx2
import tenacity

from mcp_transport.client.attempt import AttemptFailed, attempt
from mcp_transport.client.circuit_breaker import RetryBudget
from mcp_transport.client.endpoints import Endpoint, Endpoints
from mcp_transport.client.errors import ClientError, EndpointsUnavailable, ResultUnknown
from mcp_transport.client.regions import Regions
from mcp_transport.client.requests import Outgoing
from mcp_transport.client.sessions import SessionState, keep_seconds
from mcp_transport.client.streams import region_of

__all__ = ["Delivery", "Limits", "final_error"]

logger = logging.getLogger(__name__)

# Seconds between two rounds over all endpoints, exponential with full jitter.
_BACKOFF: Final = tenacity.wait_random_exponential(multiplier=0.2, min=0.05, max=2.0)
# draft-ietf-httpapi-idempotency-key-header
_KEY: Final = "idempotency-key"
_SESSION_UNKNOWN: Final = 404


@dataclass(frozen=True, slots=True)
class Limits:
    """Timeouts of a client, in seconds."""

    deadline: float
    """Until an endpoint begins to respond, including retries."""
    attempt_timeout: float
    """Until a request that may be repeated goes to the next endpoint."""
    idle_timeout: float
    """Without a byte on a stream that can be resumed."""

    def __post_init__(self) -> None:
        for option in ("deadline", "attempt_timeout", "idle_timeout"):
            seconds = getattr(self, option)
            if not (isinstance(seconds, int | float) and seconds > 0):
                raise ValueError(f"{option} must be a positive number of seconds, not {seconds!r}")


class _RoundFailed(Exception):
    """No endpoint responded in this round."""

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait
        """Seconds to wait as the endpoints' Retry-After asks; 0 if none did."""


class _Exhausted(Exception):
    """The deadline or the retry budget is exhausted."""


class Delivery:
    """Tries the endpoints in turn, within one deadline per request and one retry budget per client."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        endpoints: Endpoints,
        session: SessionState,
        limits: Limits,
        is_idempotent: Callable[[str], Awaitable[bool]],
    ) -> None:
        """Take the HTTP client, and `is_idempotent`, which tells whether a tool may be called twice."""
        self._http, self._endpoints, self._session, self.limits = http, endpoints, session, limits
        self._is_idempotent = is_idempotent
        self.regions = Regions(endpoints, self.probe)
        self._budget = RetryBudget(refilled_at=time.monotonic())
        self.keep_seconds = 0.0
        """How long the server stores responses for idempotency keys; 0 if it does not."""

    def renewed(self, result: Mapping[str, Any]) -> None:
        """Record the result of `initialize` of a new session."""
        self.keep_seconds = keep_seconds(result)
        self._endpoints.without_session.clear()

    def has_moved_from(self, region: str) -> bool:
        """Return whether new requests go to another region."""
        return self._endpoints.has_regions and self._endpoints.current.region != region

    async def may_repeat(self, outgoing: Outgoing) -> bool:
        """Return whether a request that may have run can be sent again in its session."""
        has_stored_answer = _KEY in outgoing.headers and time.monotonic() < outgoing.unfinished_at + self.keep_seconds
        return has_stored_answer or await self.may_run_twice(outgoing)

    async def may_run_twice(self, outgoing: Outgoing) -> bool:
        """Return whether a second run of a request does no harm."""
        if outgoing.is_repeatable or outgoing.verb != "POST":
            return True
        if outgoing.tool and not outgoing.is_idempotent:
            outgoing.is_idempotent = await self._is_idempotent(outgoing.tool)
        return outgoing.is_idempotent

    async def send(self, outgoing: Outgoing) -> httpx2.Response:
        """Return the first response of an endpoint; its body is read unless it is a stream.

        Raises:
            EndpointsUnavailable: no endpoint responded within the deadline, or the retry budget is exhausted.
            ResultUnknown: the response was lost, and the request must not be repeated.
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
        # Closing a client must not wait long for DELETE.
        return self.limits.attempt_timeout if outgoing.verb == "DELETE" else self.limits.deadline

    async def _rounds(self, outgoing: Outgoing, failures: dict[str, str], deadline: float) -> httpx2.Response:
        try:
            return await self._round(outgoing, failures, deadline)
        except _RoundFailed as error:
            first = error  # tenacity's retry context is slow, and most requests do not need it
        again = tenacity.retry_if_exception_type(_RoundFailed)
        async for round_ in tenacity.AsyncRetrying(retry=again, wait=_backoff, reraise=True):
            with round_:
                if round_.retry_state.attempt_number == 1:
                    raise first
                return await self._round(outgoing, failures, deadline)
        raise AssertionError("a loop of retries ends with a result or an error")

    async def _round(self, outgoing: Outgoing, failures: dict[str, str], deadline: float) -> httpx2.Response:
        """Try each endpoint whose circuit allows it; a second attempt at one takes a token of the retry budget."""
        if outgoing.is_cancelled:
            raise _Exhausted("the request was cancelled")
        retry_after, refused = 0.0, {}
        seconds = self.limits.attempt_timeout
        for endpoint in self._endpoints.available(seconds, outgoing.begins_work, outgoing.region):
            await self._refuse_second_run(outgoing, failures)
            if self._endpoints.has_regions and not await self._allows(outgoing, endpoint):
                failures.setdefault(endpoint.name, "not asked: the request may have run in another region")
                continue
            if endpoint.name in failures and not self._budget.take(time.monotonic()):
                raise _Exhausted("the retry budget of this client is exhausted")
            try:
                return await self._attempt(endpoint, outgoing, failures)
            except AttemptFailed as failure:
                failures[endpoint.name] = failure.reason
                retry_after = max(retry_after, failure.retry_after)
                refused[endpoint.name] = failure.retry_after if failure.is_for_tool else 0.0
                if outgoing.is_listening and failure.is_sent:
                    raise _RoundFailed(retry_after) from failure  # other endpoints may not know the session
        await self._refuse_second_run(outgoing, failures)
        wait = self._endpoints.wait(refused) if retry_after else 0.0
        if wait > deadline - time.monotonic():
            raise _Exhausted(f"all endpoints ask to wait for {wait:.0f} s, which is beyond the deadline")
        raise _RoundFailed(wait)

    async def _refuse_second_run(self, outgoing: Outgoing, failures: Mapping[str, str]) -> None:
        """Raise ResultUnknown for a request that may have run and must not run again."""
        if outgoing.may_have_run and not await self.may_repeat(outgoing):
            lost = "the response was lost, and the request may have run"
            raise ResultUnknown(lost, retryable=False, endpoints=failures)

    async def _allows(self, outgoing: Outgoing, endpoint: Endpoint) -> bool:
        """Return whether a request may run in an endpoint's region.

        An idempotency key is only known where it was sent, so a region is asked for its name before it gets one.
        """
        if _KEY not in outgoing.headers or outgoing.is_repeatable:
            return True
        if not outgoing.may_have_run:
            return endpoint.region is not None or await self.probe(endpoint, outgoing) > 0
        if await self.may_run_twice(outgoing):
            return True
        # Asked even if its name is known: the address of a load balancer may lead to another region than before.
        return await self.probe(endpoint, outgoing) > 0 and outgoing.sent_to <= {endpoint.region}

    async def probe(self, endpoint: Endpoint, like: Outgoing) -> int:
        """Learn the region of an endpoint; return the status of a request in the session, 0 without a response."""
        started_at, session_id = time.monotonic(), self._session.id
        outgoing = self._session.ping(like) if session_id else Outgoing("OPTIONS", {})
        try:
            response = await attempt(
                self._http, endpoint, outgoing, session_id, self.limits.attempt_timeout, _always_repeatable
            )
        except AttemptFailed as failure:
            self._failed(endpoint, failure)
            return 0
        await response.aclose()
        seconds, region = time.monotonic() - started_at, region_of(response)
        self._endpoints.record_success(endpoint, seconds, region, moves=False)
        return response.status_code

    async def finds_session(self, like: Outgoing, unknown: httpx2.Response) -> bool:
        """Ask the other regions for a session that one does not know, and move to the first that has it.

        Each is asked once, whatever its circuit: otherwise the session would be lost.
        """
        if not (region := region_of(unknown)):
            return False
        self._endpoints.without_session.add(region)
        for endpoint in self._endpoints.elsewhere(region):
            if endpoint.region in self._endpoints.without_session:
                continue
            status = await self.probe(endpoint, like)
            if status == _SESSION_UNKNOWN and endpoint.region:
                self._endpoints.without_session.add(endpoint.region)
            elif 200 <= status < 300:
                self._endpoints.move_to(endpoint)
                self.regions.followed(like)
                return True
        return False

    async def _attempt(self, endpoint: Endpoint, outgoing: Outgoing, failures: dict[str, str]) -> httpx2.Response:
        started_at = time.monotonic()
        failures.setdefault(endpoint.name, "no answer")  # if the deadline ends this attempt
        if not outgoing.may_have_run:
            outgoing.unfinished_at = started_at
        may_have_run, outgoing.may_have_run = outgoing.may_have_run, True
        session_id = "" if outgoing.method == "initialize" and outgoing.verb == "POST" else self._session.id
        seconds = self.limits.idle_timeout if outgoing.is_listening else self.limits.attempt_timeout
        try:
            response = await attempt(
                self._http, endpoint, outgoing, session_id, seconds, lambda: self.may_repeat(outgoing)
            )
        except AttemptFailed as failure:
            outgoing.may_have_run = may_have_run or failure.may_have_run
            if failure.may_have_run:
                outgoing.sent_to.add(endpoint.region or "")
            # An endpoint that limits streams may still answer requests.
            self._failed(endpoint, failure, is_down=not outgoing.is_listening)
            raise
        outgoing.may_have_run = may_have_run
        self._succeeded(endpoint, outgoing, response, time.monotonic() - started_at)
        return response

    def _failed(self, endpoint: Endpoint, failure: AttemptFailed, *, is_down: bool = True) -> None:
        logger.info("endpoint %s failed: %s", endpoint.name, failure.reason)
        if failure.region:
            self._endpoints.record_region(endpoint, failure.region)
        if is_down and not failure.is_for_tool:  # one that limits a tool may answer requests of others
            record = self._endpoints.record_busy if failure.is_busy else self._endpoints.record_failure
            record(endpoint, failure.reason, failure.retry_after)

    def _succeeded(self, endpoint: Endpoint, outgoing: Outgoing, response: httpx2.Response, seconds: float) -> None:
        region = region_of(response)
        serves_old_work = outgoing.region not in ("", self._endpoints.current.region)
        is_unknown_here = bool(region) and response.status_code == _SESSION_UNKNOWN
        moves = not (serves_old_work or is_unknown_here)
        self._endpoints.record_success(endpoint, seconds, region, moves=moves)
        if self._endpoints.has_regions:
            if outgoing.request_id is not None and not is_unknown_here:
                outgoing.region = region
                outgoing.sent_to.add(region)
            self.regions.followed(outgoing)


def final_error(outgoing: Outgoing, problem: str, endpoints: Mapping[str, str] = MappingProxyType({})) -> ClientError:
    """Return the error of a request without a response.

    It is retryable only if a second run is safe: a retry by the caller has another idempotency key.
    """
    if outgoing.may_have_run and not (outgoing.is_repeatable or outgoing.is_idempotent):
        return ResultUnknown(f"{problem}, and the request may have run", retryable=False, endpoints=endpoints)
    return EndpointsUnavailable(problem, retryable=True, endpoints=endpoints)


async def _always_repeatable() -> bool:
    return True


def _backoff(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next round, at least those of the endpoints' Retry-After."""
    error = state.outcome.exception() if state.outcome is not None else None
    return _BACKOFF(state) + (error.wait if isinstance(error, _RoundFailed) else 0.0)
