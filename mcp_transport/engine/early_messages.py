"""Messages for a stream that is not here yet."""

from __future__ import annotations

from mcp_transport.domain.node_messages import CancelCall, Closed, Joined, NodeMessage, Superseded, Wake

__all__ = ["EarlyMessages"]


class EarlyMessages:
    """Collects what arrives for a stream between the store's word that it is here and its being here."""

    def __init__(self) -> None:
        self._expected: set[Subscription] = set()

    def __bool__(self) -> bool:
        return bool(self._expected)

    def __contains__(self, stream: tuple[str, str]) -> bool:
        return any((expected.key, expected.stream) == stream for expected in self._expected)

    def expected(self, key: str, stream: str) -> Subscription:
        """Keep the stream's messages, for the length of a `with` block."""
        return Subscription(self._expected, key, stream)

    def keep(self, message: NodeMessage) -> None:
        """Keep a message for each that expects it."""
        if not self._expected or not isinstance(message, Wake | Superseded | Closed | Joined | CancelCall):
            return
        for expected in self._expected:
            if message.key == expected.key and getattr(message, "stream", "") in ("", expected.stream):
                expected.arrived.append(message)


class Subscription:
    """One stream that is expected, and what has arrived for it."""

    __slots__ = ("_all", "arrived", "key", "stream")

    def __init__(self, everything: set[Subscription], key: str, stream: str) -> None:
        self._all, self.key, self.stream = everything, key, stream
        self.arrived: list[NodeMessage] = []

    def __enter__(self) -> list[NodeMessage]:
        self._all.add(self)
        return self.arrived

    def __exit__(self, *_: object) -> None:
        self._all.discard(self)
