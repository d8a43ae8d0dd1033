"""Durations of tool calls by tool and era, since the process started, with a bounded number of names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mcp_transport.domain.metrics import MAX_OPERATIONS, Histogram
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["OTHER", "BoundedNames", "ToolDurations", "era_of"]

OTHER: Final = "other"
"""Stands for names beyond the limit, and for those that nothing has."""

_PREFIX: Final = "tools/call "


def era_of(version: str) -> str:
    """Return `session` or `sessionless`, by whether a protocol revision has sessions."""
    revision = REVISIONS.get(version)
    return "session" if revision is None or revision.sessionful else "sessionless"


class BoundedNames:
    """Names that clients send, as labels of metrics: only names that exist, and at most `limit` of them.

    `exists` tells whether the server has a name; a server that cannot tell has it once a call of it has succeeded.
    """

    def __init__(self, exists: Callable[[str], bool], limit: int = MAX_OPERATIONS) -> None:
        self._exists, self._limit, self._names = exists, limit, set[str]()

    def label(self, name: str, *, succeeded: bool) -> str:
        """Return a name, or `OTHER` in its place."""
        if name in self._names:
            return name
        if len(self._names) >= self._limit or not (succeeded or self._exists(name)):
            return OTHER
        self._names.add(name)
        return name


class ToolDurations:
    """The durations of tool calls; not thread-safe."""

    def __init__(self, exists: Callable[[str], bool]) -> None:
        self._names = BoundedNames(exists)
        self._histograms: dict[tuple[str, str], Histogram] = {}

    def add(self, operation: str, version: str, calls: Histogram, *, succeeded: bool) -> None:
        """Add calls of an operation, if it calls a tool; `succeeded` tells whether they returned results."""
        if not operation.startswith(_PREFIX):
            return
        key = self._names.label(operation[len(_PREFIX) :], succeeded=succeeded), era_of(version)
        histogram = self._histograms.get(key)
        if histogram is None:
            histogram = self._histograms[key] = Histogram()
        histogram.merge(calls)

    def copy(self) -> dict[tuple[str, str], Histogram]:
        """Return copies of the histograms, by tool and era."""
        copies = {key: Histogram() for key in self._histograms}
        for key, histogram in self._histograms.items():
            copies[key].merge(histogram)
        return copies
