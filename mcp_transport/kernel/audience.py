"""What a handler that runs for several requests at once sends to their clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mcp_transport.kernel.types import ClientChannel

__all__ = ["Audience", "Listener", "notify_all", "report_to_all"]


class Listener(Protocol):
    """The exchange of a request that waits for a handler."""

    channel: ClientChannel

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on the request's own stream."""

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress if the client requested it."""


class Audience(Protocol):
    """The requests that wait for a handler."""

    def exchanges(self) -> Sequence[Listener]:
        """Return the exchange of each request that waits now; none while only the first one does."""

    def claim(self) -> bool:
        """Leave the handler to the request that has started it; return whether that still waits."""

    def close(self) -> None:
        """Let no further request wait for the handler."""


async def notify_all(listeners: Sequence[Listener], method: str, params: Mapping[str, Any] | None) -> None:
    """Send a notification to each client; a progress notification with the client's own token."""
    if method == "notifications/progress":
        values = params or {}
        await report_to_all(listeners, values.get("progress", 0), values.get("total"), values.get("message"))
        return
    for listener in _reachable(listeners):
        await listener.notify(method, params)


async def report_to_all(
    listeners: Sequence[Listener], progress: float, total: float | None, message: str | None
) -> None:
    """Report progress to each client that requested it."""
    for listener in _reachable(listeners):
        await listener.progress(progress, total, message)


def _reachable(listeners: Sequence[Listener]) -> Sequence[Listener]:
    """Return the listeners without those that would make others wait for a client that does not read."""
    return listeners if len(listeners) == 1 else [each for each in listeners if not each.channel.is_full]
