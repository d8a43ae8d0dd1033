"""Moves a client's new work back to a nearer region, once that serves the session again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from mcp_transport.client.endpoints import Endpoint, Endpoints
from mcp_transport.client.requests import Outgoing

__all__ = ["Regions"]

logger = logging.getLogger(__name__)

_SESSION_UNKNOWN: Final = 404
# How often in a row a nearer region must serve the session, so that clients do not follow one that comes and goes.
_PROBES: Final = 2
_PROBE_SECONDS: Final = 1.0
# So that clients that left a region together do not return together.
_JITTER: Final = (1.0, 1.5)


class Regions:
    """Follows the region of new work, and probes nearer ones in the background: no call of a user is the probe."""

    def __init__(
        self, endpoints: Endpoints, probe: Callable[[Endpoint, Outgoing], Awaitable[int]], probes: int = _PROBES
    ) -> None:
        """Take the endpoints, and `probe`, which returns the status of a request in the session, or 0."""
        self._endpoints, self._probe, self._probes = endpoints, probe, probes
        self.on_change: Callable[[str], None] = lambda region: None
        """Called when new work goes to another region."""
        self._region: str | None = None
        self._like = Outgoing("GET", {})
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def followed(self, like: Outgoing) -> None:
        """Notice where a request was served, and begin to probe nearer regions with requests like it."""
        self._like = like
        self._follow()
        if self._task is None and not self._is_closed and self._endpoints.nearer():
            self._task = asyncio.create_task(self._return())
            self._task.add_done_callback(self._returned)

    def _follow(self) -> None:
        region = self._endpoints.current.region or ""
        if region == self._region:
            return
        previous, self._region = self._region, region
        if previous is not None:
            logger.warning("new requests go to region %s instead of %s", region or "?", previous or "?")
            self.on_change(region)

    def close(self) -> None:
        """Probe no more."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()

    def _returned(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("probing nearer regions failed", exc_info=error)

    async def _return(self) -> None:
        """Probe until there is no nearer region to return to."""
        while nearer := self._endpoints.nearer():
            wait = min(map(self._endpoints.opens_in, nearer))
            await asyncio.sleep(max(wait, _PROBE_SECONDS) * random.uniform(*_JITTER))  # noqa: S311 (no secret)
            for endpoint in nearer:
                if self._endpoints.opens_in(endpoint) == 0.0 and await self._serves(endpoint):
                    self._endpoints.move_to(endpoint)
                    break
        self._follow()

    async def _serves(self, endpoint: Endpoint) -> bool:
        """Return whether an endpoint of a nearer region serves the session, several times in a row."""
        for number in range(self._probes):
            if number:
                await asyncio.sleep(_PROBE_SECONDS)
            status = await self._probe(endpoint, self._like)
            if not any(endpoint is each for each in self._endpoints.nearer()):
                return False  # it is of the same region, or other requests have moved there
            if not 200 <= status < 300:
                if status == _SESSION_UNKNOWN and endpoint.region:
                    self._endpoints.without_session.add(endpoint.region)
                elif status:
                    self._endpoints.record_failure(endpoint, f"HTTP {status}")
                return False
        return True
