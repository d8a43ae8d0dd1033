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

    @property
    def names(self) -> list[str]:
        """Return all URLs, for messages."""
        return [endpoint.name for endpoint in self._all]

    @property
    def current(self) -> Endpoint:
        """Return the endpoint that responded last."""
        return self._current

    def available(self, attempt_seconds: float, begins_work: bool = True) -> Iterator[Endpoint]:
        """Yield the endpoints whose circuit allows a request, each once; a half-open one gets one request at a time.

        Args:
            attempt_seconds: seconds that an attempt may take.
            begins_work: whether a pause that an endpoint asked for applies to the request.
        """
        for endpoint in [self._current, *self._others()]:
            now = self._clock()
            if endpoint.circuit.allows(now, begins_work):
                endpoint.circuit = endpoint.circuit.probing(now, attempt_seconds)
                yield endpoint

    def _others(self) -> list[Endpoint]:
        others = [endpoint for endpoint in self._all if endpoint is not self._current]
        if self._choice == "fastest":
            others.sort(key=lambda endpoint: (endpoint.circuit.failures, endpoint.seconds))
        return others

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

    def record_success(self, endpoint: Endpoint, seconds: float) -> None:
        """Record a response whose headers came after `seconds`."""
        endpoint.circuit, endpoint.error = Circuit(), ""
        endpoint.seconds += _EWMA_WEIGHT * (seconds - endpoint.seconds) if endpoint.seconds else seconds
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
