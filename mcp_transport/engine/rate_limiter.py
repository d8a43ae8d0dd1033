"""Which buckets a request is charged in, and how a refused one is answered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mcp_transport.backends.results import RateLimited
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.rate_limit import GET_WEIGHT, Charge, Limit, RateLimits, is_light, weight_of
from mcp_transport.domain.session import session_key
from mcp_transport.engine.rate_buckets import RateBuckets, Refusal
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.client_address import caller_block
from mcp_transport.protocol.errors import INVALID_REQUEST, refused_for_load
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Message, Request

__all__ = ["EntryCharges", "RateLimiter", "refused"]

# Characters of what a bucket is named after; longer names are replaced by a digest.
_MAX_IDENTITY: Final = 200

ToolName = Callable[[Request], str | None]
"""Returns the name of the tool that a request calls; None for other requests, and for tools that do not exist."""


class RateLimiter:
    """The limits of a process and its buckets."""

    def __init__(self, limits: RateLimits, now: Callable[[], float], tool_name: ToolName) -> None:
        self.limits, self.buckets, self._tool_name = limits, RateBuckets(now), tool_name
        self._limits_tools = bool(limits.tool or limits.tools)

    def charges(
        self, request: HTTPRequest, principal: Principal, messages: Sequence[Message], invalid: int = 0
    ) -> tuple[Charge, ...]:
        """Return the charges of a POST, `invalid` of whose messages could not be read.

        Raises:
            ProtocolError: 400 for a batch that exceeds a burst, which would be refused at any time.
        """
        weight, light = weight_of(messages, invalid), all(map(is_light, messages))
        charges = [
            limit.charge(identity, weight, is_light=light) for limit, identity in self._counted(request, principal)
        ]
        if self._limits_tools and not light:
            charges += self._tool_charges(request, principal, messages)
        for charge in charges if len(messages) > 1 else ():
            if charge.cost > charge.capacity:
                raise _never_allowed(charge)
        return tuple(charges)

    def get_charges(self, request: HTTPRequest, principal: Principal) -> tuple[Charge, ...]:
        """Return the charges of a GET, whose buckets are apart from those of POSTs."""
        counted = self._counted(request, principal)
        return tuple(limit.charge(f"GET\n{identity}", GET_WEIGHT, is_light=True) for limit, identity in counted)

    def _counted(self, request: HTTPRequest, principal: Principal) -> Iterator[tuple[Limit, str]]:
        """Yield the limits of a request, each with whom it counts for."""
        limits = self.limits
        for limit in limits.caller:
            yield limit, _caller(request, principal)
        if limits.session and (session_id := request.headers.get("mcp-session-id")):
            for limit in limits.session:
                yield limit, session_key(session_id)
        for limit in limits.address:
            yield limit, _bounded(caller_block(request.peer))
        for function, each in limits.functions:
            if (identity := function(principal, request)) is not None:
                if not isinstance(identity, str):
                    raise TypeError(f"the function {each[0].name} of RATE_LIMITS must return a string or None")
                for limit in each:
                    yield limit, _bounded(identity)

    def _tool_charges(
        self, request: HTTPRequest, principal: Principal, messages: Sequence[Message]
    ) -> Iterator[Charge]:
        calls = [name for item in messages if isinstance(item, Request) and (name := self._tool_name(item))]
        caller = _caller(request, principal)
        for name in dict.fromkeys(calls):
            for limit in self.limits.tools.get(name, self.limits.tool):
                yield limit.charge(f"{name}\n{caller}", calls.count(name), is_light=False)


@dataclass(frozen=True, slots=True)
class EntryCharges:
    """The charges of a POST that are left to the store, which admits it to its session; `since` is the time."""

    charges: Sequence[Charge]
    buckets: RateBuckets
    since: float

    def refused(self, reply: RateLimited) -> ProtocolError:
        """Return the 429 for a POST that the store refuses; further ones are then refused without the store."""
        charge = self.charges[reply.position]
        self.buckets.report(charge, reply.fill, self.since)
        return refused(Refusal(charge, reply.fill + charge.cost - charge.capacity))


def refused(refusal: Refusal) -> ProtocolError:
    """Return the 429 for a request beyond a rate limit."""
    limit = refusal.charge.limit
    message = f"too many requests: the limit is {limit.rate} ({limit.kind})"
    return refused_for_load(
        429, message, limit=limit.setting, key=limit.kind, retry_after=max(0.001, refusal.retry_after)
    )


def _never_allowed(charge: Charge) -> ProtocolError:
    rate = charge.limit.rate
    return ProtocolError(
        400,
        INVALID_REQUEST,
        f"Invalid request: the limit is {rate} ({charge.limit.kind}), so at most {rate.burst} requests fit into a "
        "batch: send fewer at a time",
    )


def _caller(request: HTTPRequest, principal: Principal) -> str:
    return _bounded(principal.binding or caller_block(request.peer))


def _bounded(identity: str) -> str:
    return identity if len(identity) <= _MAX_IDENTITY else hashlib.sha256(identity.encode()).hexdigest()
