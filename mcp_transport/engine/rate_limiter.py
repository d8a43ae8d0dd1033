"""Which buckets a request is charged in, and how a refused one is answered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mcp_transport.backends.results import RateLimited
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.rate_limit import GET_WEIGHT, Charge, Limit, RateLimits, conforms, is_light, weight_of
from mcp_transport.domain.session import session_key
from mcp_transport.engine.rate_buckets import ChargeSet, RateBuckets, Refusal
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.client_address import caller_block
from mcp_transport.protocol.errors import INVALID_REQUEST, refused_for_load
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Message, Request

__all__ = ["EntryCharges", "RateLimiter", "refused"]

# Characters of what a bucket is named after; longer names are replaced by a digest.
_MAX_IDENTITY: Final = 200

_MAX_CACHED: Final = 1024

ToolName = Callable[[Message], str | None]
"""Returns the name of the tool that a message calls; None for others, and for tools that do not exist."""


class RateLimiter:
    """The limits of a process and its buckets."""

    def __init__(self, limits: RateLimits, now: Callable[[], float], tool_name: ToolName) -> None:
        self.limits, self.buckets, self._tool_name = limits, RateBuckets(now), tool_name
        self._limits_tools = bool(limits.tool or limits.tools)
        # A caller sends many requests of the same kind.
        self._charges = lru_cache(maxsize=_MAX_CACHED)(self._build_charges)

    def charges(
        self, request: HTTPRequest, principal: Principal, messages: Sequence[Message], invalid: int = 0
    ) -> ChargeSet:
        """Return the charges of a POST, `invalid` of whose messages could not be read.

        Raises:
            ProtocolError: 400 for a batch that exceeds a burst, which would be refused at any time.
        """
        limits = self.limits
        session = request.headers.get("mcp-session-id") if limits.session else None
        identities = self._identities(request, principal) if limits.functions else ()
        tools = tuple([self._tool_name(item) for item in messages]) if self._limits_tools else ()
        heavy = 0
        for item in messages:
            heavy += isinstance(item, Request) and not is_light(item.method)
        light = len(messages) - heavy + invalid
        return self._charges(principal.binding, request.peer, session, identities, tools, light, heavy)

    def get_charges(self, request: HTTPRequest, principal: Principal) -> ChargeSet:
        """Return the charges of a GET, whose buckets are apart from those of POSTs."""
        session = request.headers.get("mcp-session-id")
        counted = self._counted(principal.binding, request.peer, session, self._identities(request, principal))
        return ChargeSet([limit.charge(f"GET\n{identity}", GET_WEIGHT, is_light=True) for limit, identity in counted])

    def _identities(self, request: HTTPRequest, principal: Principal) -> tuple[str | None, ...]:
        """Return whom the project's functions say that a request counts for."""
        identities = tuple(function(principal, request) for function, _ in self.limits.functions)
        for identity, (_, limits) in zip(identities, self.limits.functions, strict=True):
            if identity is not None and not isinstance(identity, str):
                raise TypeError(f"the function {limits[0].name} of RATE_LIMITS must return a string or None")
        return identities

    def _build_charges(
        self,
        binding: str,
        peer: str,
        session: str | None,
        identities: tuple[str | None, ...],
        tools: tuple[str | None, ...],
        light: int,
        heavy: int,
    ) -> ChargeSet:
        """Return the charges of a POST with so many light messages, and so many others, which call `tools`."""
        counted, weight = self._counted(binding, peer, session, identities), weight_of(light, heavy)
        charges = [limit.charge(identity, weight, is_light=not heavy) for limit, identity in counted]
        caller = _bounded(binding or caller_block(peer))
        for name in filter(None, dict.fromkeys(tools)):
            limits = self.limits.tools.get(name, self.limits.tool)
            charges += [limit.charge(f"{name}\n{caller}", tools.count(name), is_light=False) for limit in limits]
        for charge in charges if light + heavy > 1 else ():
            if not conforms(0.0, charge.cost, charge.capacity):
                raise _never_allowed(charge)
        return ChargeSet(charges)

    def _counted(
        self, binding: str, peer: str, session: str | None, identities: Iterable[str | None]
    ) -> Iterator[tuple[Limit, str]]:
        """Yield the limits of a request, each with whom it counts for."""
        limits, block = self.limits, _bounded(caller_block(peer))
        for limit in limits.caller:
            yield limit, _bounded(binding) or block
        for limit in limits.session if session else ():
            yield limit, session_key(session or "")
        for limit in limits.address:
            yield limit, block
        for identity, (_, each) in zip(identities, limits.functions, strict=True):
            for limit in each if identity is not None else ():
                yield limit, _bounded(identity or "")


@dataclass(frozen=True, slots=True)
class EntryCharges:
    """The charges of a POST that are left to the store, which admits it to its session; `since` is the time."""

    charges: Sequence[Charge]
    buckets: RateBuckets
    since: float

    def admitted(self) -> None:
        """Record that the store has admitted and charged the POST."""
        self.buckets.add(self.charges)

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
        429, message, limit=limit.setting, key=limit.kind, seconds=max(0.001, refusal.retry_after)
    )


def _never_allowed(charge: Charge) -> ProtocolError:
    rate = charge.limit.rate
    return ProtocolError(
        400,
        INVALID_REQUEST,
        f"Invalid request: the limit is {rate} ({charge.limit.kind}), so at most {rate.burst} requests fit into a "
        "batch: send fewer at a time",
    )


def _bounded(identity: str) -> str:
    return identity if len(identity) <= _MAX_IDENTITY else hashlib.sha256(identity.encode()).hexdigest()
