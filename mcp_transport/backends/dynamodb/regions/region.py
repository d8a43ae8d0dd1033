"""The regions of a table, as one process uses them: each with a backend at its own endpoint, built when needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.regions.health import HealthObserver, RegionHealth
from mcp_transport.backends.membership import RunningStreams

__all__ = ["Region"]

# After so long without an operation there, a node no longer looks for messages in another region often.
_IDLE_SECONDS: Final = 60.0


class Region:
    """A region; `build` builds its backend around the dict that will have its running streams."""

    def __init__(
        self,
        name: str,
        observer: HealthObserver,
        build: Callable[[RunningStreams], Backend],
    ) -> None:
        self.name, self.observer, self._build = name, observer, build
        self.running: RunningStreams = {}
        """The streams of sessions at home there that nodes of this process run."""
        self._backend: Backend | None = None
        self._building = threading.Lock()
        self._used_at = float("-inf")

    @property
    def health(self) -> RegionHealth:
        """Return what this process has observed of the region."""
        return self.observer.health

    @property
    def backend(self) -> Backend:
        """Return the backend at the region's endpoint."""
        if self._backend is None:
            with self._building:
                if self._backend is None:
                    self._backend = self._build(self.running)
        return self._backend

    @property
    def is_used(self) -> bool:
        """Return whether the process has a backend for the region."""
        return self._backend is not None

    def use(self) -> None:
        """Record that an operation runs there."""
        self._used_at = self.observer.monotonic()

    def was_used_recently(self) -> bool:
        """Return whether messages from nodes of the region may matter to this process."""
        return self.observer.monotonic() - self._used_at < _IDLE_SECONDS
