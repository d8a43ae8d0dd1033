"""The endpoints of a client: which one is next."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import httpx2

from mcp_transport.client.circuit_breaker import Circuit

__all__ = ["Choice", "Endpoint", "Endpoints"]

Choice = Literal["ordered", "fastest"]
"""How to choose among endpoints that work: the first of the list, or the one that began to answer soonest."""

# The part of a new measurement in the mean response time, as in TCP's round-trip estimate (RFC 6298, 2).
_WEIGHT: Final = 0.125


# What of a URL is not for messages: user and password, and the query.
_SECRET: Final = re.compile(r"(?<=//)[^/]*@|[?#].*", re.DOTALL)


@dataclass(slots=True)
class Endpoint:
    """One URL of the server."""

    url: httpx2.URL = field(repr=False)
    """Without credentials, which the HTTP library would log with each request."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    """The credentials of the URL."""
    circuit: Circuit = field(default_factory=Circuit)
    seconds: float = 0.0
    """Mean time until it began to answer; 0 for one that was never tried."""
    error: str = ""
    """Why it failed last."""

    name: str = ""
    """The URL without its query, for messages."""

    def __post_init__(self) -> None:
        self.name = str(self.url.copy_with(query=None, fragment=None))


class Endpoints:
    """Keeps to one endpoint while it works: servers that share no sessions know a session at one of them only."""

    def __init__(
        self, urls: Sequence[str], choice: Choice = "ordered", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the URLs in the order of preference.

        Raises:
            ValueError: no URL, one that is no absolute http or https URL, one given twice, or an unknown `choice`.
        """
        if choice not in ("ordered", "fastest"):
            raise ValueError(f"choice must be 'ordered' or 'fastest', not {choice!r}")
        if not urls:
            raise ValueError("a client needs the URL of at least one endpoint")
        self._all = [_endpoint(url) for url in urls]
        if len({str(endpoint.url) for endpoint in self._all}) < len(self._all):
            raise ValueError("an endpoint is given twice: each URL may be there once")
        self._choice, self._clock = choice, clock
        self._current = self._all[0]

    def __len__(self) -> int:
        return len(self._all)

    @property
    def names(self) -> list[str]:
        """Return all URLs, for messages."""
        return [endpoint.name for endpoint in self._all]

    @property
    def current(self) -> Endpoint:
        """Return the endpoint that answered last."""
        return self._current

    def available(self, tried_for: float) -> Iterator[Endpoint]:
        """Yield the endpoints to try, each once; one that failed is left alone, or tried by one request at a time.

        Args:
            tried_for: seconds that an attempt may take.
        """
        for endpoint in [self._current, *self._others()]:
            now = self._clock()
            if endpoint.circuit.lets_through(now):
                endpoint.circuit = endpoint.circuit.trying(now, tried_for)
                yield endpoint

    def _others(self) -> list[Endpoint]:
        others = [endpoint for endpoint in self._all if endpoint is not self._current]
        if self._choice == "fastest":
            others.sort(key=lambda endpoint: (endpoint.circuit.failures, endpoint.seconds))
        return others

    def wait(self) -> float:
        """Return the seconds until the first endpoint may be tried."""
        return max(0.0, min(endpoint.circuit.until for endpoint in self._all) - self._clock())

    def errors(self) -> dict[str, str]:
        """Return the last error of each endpoint that fails, by name."""
        return {endpoint.name: endpoint.error for endpoint in self._all if endpoint.error}

    def answered(self, endpoint: Endpoint, seconds: float) -> None:
        """Note an answer that began after some `seconds`."""
        endpoint.circuit, endpoint.error = Circuit(), ""
        endpoint.seconds += _WEIGHT * (seconds - endpoint.seconds) if endpoint.seconds else seconds
        self._current = endpoint

    def failed(self, endpoint: Endpoint, error: str, retry_after: float = 0.0) -> None:
        """Note a failure."""
        endpoint.error = error
        endpoint.circuit = endpoint.circuit.failed(self._clock(), retry_after)

    def rests(self, endpoint: Endpoint, error: str, seconds: float) -> None:
        """Note that a working endpoint asked not to be sent anything for some `seconds`."""
        endpoint.error = error
        endpoint.circuit = endpoint.circuit.resting(self._clock(), seconds)


def _endpoint(url: str) -> Endpoint:
    shown = repr(_SECRET.sub("", str(url)))
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise ValueError(f"{shown} is no URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{shown} is no URL of an endpoint: expected http://… or https://… with a host")
    headers = {}
    if parsed.userinfo:
        credentials = f"{parsed.username}:{parsed.password}".encode()
        headers["authorization"] = f"Basic {b64encode(credentials).decode()}"
    return Endpoint(parsed.copy_with(userinfo=b"", fragment=None), headers)
