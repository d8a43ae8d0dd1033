"""The endpoints of a client, and the order in which they are tried."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

import httpx2

from mcp_transport.client.circuit_breaker import Circuit

__all__ = ["Choice", "Endpoint", "Endpoints"]

Choice = Literal["ordered", "fastest"]
"""How to choose among working endpoints: the first of the list, or the one with the shortest response time."""

# The weight of a new measurement in the mean response time, as in TCP's round-trip estimate (RFC 6298, 2).
_EWMA_WEIGHT: Final = 0.125


# Parts of a URL that messages must not contain: user, password and query.
_CREDENTIALS: Final = re.compile(r"(?<=//)[^/]*@|[?#].*", re.DOTALL)


@dataclass(slots=True)
class Endpoint:
    """One URL of the server."""

    url: httpx2.URL = field(repr=False)
    """Without credentials: the HTTP library logs it with each request."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    """The credentials of the URL."""
    circuit: Circuit = field(default_factory=Circuit)
    seconds: float = 0.0
    """Mean time until the response headers; 0 before the first response."""
    error: str = ""
    """The last failure."""
    name: str = ""
    """The URL without its query, for messages."""
    region: str | None = None
    """The region that its last response named: empty if it named none, None before the first response."""

    def __post_init__(self) -> None:
        self.name = str(self.url.copy_with(query=None, fragment=None))


class Endpoints:
    """Stays with one endpoint while it works: servers without a shared store know a session at one endpoint only."""

    def __init__(
        self, urls: Sequence[str], choice: Choice = "ordered", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the URLs in the order of preference.

        Raises:
            ValueError: no URL, a URL that is not absolute http or https, a duplicate, or an unknown `choice`.
        """
        if choice not in ("ordered", "fastest"):
            raise ValueError(f"choice must be 'ordered' or 'fastest', not {choice!r}")
        if not urls:
            raise ValueError("a client needs the URL of at least one endpoint")
        self._all = [_endpoint(url) for url in urls]
        if len({str(endpoint.url) for endpoint in self._all}) < len(self._all):
            raise ValueError("duplicate endpoint: each URL may be listed once")
        self._choice, self._clock = choice, clock
        self._current = self._all[0]
        self.has_regions = False
        """Has a response named a region?"""
        self.without_session: set[str] = set()
        """The regions that do not know the session."""

    @property
    def names(self) -> list[str]:
        """Return all URLs, for messages."""
        return [endpoint.name for endpoint in self._all]

    @property
    def current(self) -> Endpoint:
        """Return the endpoint that responded last."""
        return self._current

    def available(self, attempt_seconds: float, begins_work: bool = True, region: str = "") -> Iterator[Endpoint]:
        """Yield the endpoints whose circuit allows a request, each once; a half-open one gets one request at a time.

        Args:
            attempt_seconds: seconds that an attempt may take.
            begins_work: whether a pause that an endpoint asked for applies to the request.
            region: the region whose endpoints come first; by default that of the endpoint that responded last.
        """
        for endpoint in self._in_order(region):
            now = self._clock()
            if endpoint.circuit.allows(now, begins_work):
                endpoint.circuit = endpoint.circuit.probing(now, attempt_seconds)
                yield endpoint

    def _in_order(self, region: str = "") -> list[Endpoint]:
        others = [endpoint for endpoint in self._all if endpoint is not self._current]
        if self._choice == "fastest":
            others.sort(key=lambda endpoint: (endpoint.circuit.failures, endpoint.seconds))
        if not self.has_regions:
            return [self._current, *others]
        # Endpoints that have not responded yet come between those of the region and those of others.
        first = region or self._current.region
        order = [self._current, *sorted(others, key=lambda each: (each.region != first, each.region is not None))]
        return sorted(order, key=lambda each: each.region != first) if region else order

    def nearer(self) -> list[Endpoint]:
        """Return the endpoints of regions that are preferred to the current one, in the order of the list.

        There are none with `choice="fastest"`, which does not take the list as an order.
        """
        region = self._current.region
        if not self.has_regions or self._choice == "fastest":
            return []
        first = next(number for number, each in enumerate(self._all) if each.region == region)
        return [each for each in self._all[:first] if each.region is None or each.region not in self.without_session]

    def elsewhere(self, region: str) -> list[Endpoint]:
        """Return the endpoints that may be of another region, whatever their circuits."""
        return [each for each in self._in_order() if each.region != region]

    def opens_in(self, endpoint: Endpoint) -> float:
        """Return the seconds until an endpoint may be tried again."""
        return max(0.0, endpoint.circuit.open_until - self._clock())

    def wait(self, refused: Mapping[str, float] = MappingProxyType({})) -> float:
        """Return the seconds until an endpoint may be tried again.

        Args:
            refused: seconds for which endpoints, by name, refuse this request alone.
        """
        now = self._clock()
        return max(
            0.0,
            min(max(each.circuit.open_until - now, refused.get(each.name, 0.0)) for each in self._all),
        )

    def errors(self) -> dict[str, str]:
        """Return the last error of each failing endpoint, by name."""
        return {endpoint.name: endpoint.error for endpoint in self._all if endpoint.error}

    def record_success(self, endpoint: Endpoint, seconds: float, region: str = "", *, moves: bool = True) -> None:
        """Record a response of a region, whose headers came after `seconds`; new work follows it if it `moves`."""
        self.record_region(endpoint, region)
        endpoint.circuit, endpoint.error = Circuit(), ""
        endpoint.seconds += _EWMA_WEIGHT * (seconds - endpoint.seconds) if endpoint.seconds else seconds
        if moves:
            self._current = endpoint

    def record_region(self, endpoint: Endpoint, region: str) -> None:
        """Record the region that a response named; one of a proxy may name none."""
        if region or endpoint.region is None:
            endpoint.region = region
        self.has_regions = self.has_regions or bool(region)

    def move_to(self, endpoint: Endpoint) -> None:
        """Send new work to an endpoint."""
        self._current = endpoint

    def record_failure(self, endpoint: Endpoint, error: str, retry_after: float = 0.0) -> None:
        """Record a failure."""
        endpoint.error = error
        endpoint.circuit = endpoint.circuit.failed(self._clock(), retry_after)

    def record_busy(self, endpoint: Endpoint, error: str, seconds: float) -> None:
        """Record that a working endpoint asked for a pause of `seconds`."""
        endpoint.error = error
        endpoint.circuit = endpoint.circuit.paused(self._clock(), seconds)


def _endpoint(url: str) -> Endpoint:
    printable = repr(_CREDENTIALS.sub("", str(url)))
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise ValueError(f"{printable} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{printable} is not the URL of an endpoint: expected http://… or https://… with a host")
    headers = {}
    if parsed.userinfo:
        credentials = f"{parsed.username}:{parsed.password}".encode()
        headers["authorization"] = f"Basic {b64encode(credentials).decode()}"
    return Endpoint(parsed.copy_with(userinfo=b"", fragment=None), headers)
