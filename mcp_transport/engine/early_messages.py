"""Messages from other nodes for a stream that is about to open here."""

from __future__ import annotations

from mcp_transport.domain.node_messages import CancelCall, Closed, Joined, NodeMessage, Superseded, Wake

__all__ = ["EarlyMessages"]


class EarlyMessages:
    """Stores messages that arrive after the store has recorded a stream at this node, until the stream is open."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def __bool__(self) -> bool:
        return bool(self._subscriptions)

    def __contains__(self, stream: tuple[str, str]) -> bool:
        return any((item.key, item.stream) == stream for item in self._subscriptions)

    def subscribe(self, key: str, stream: str) -> Subscription:
        """Store the stream's messages during a `with` block."""
        return Subscription(self._subscriptions, key, stream)

    def store(self, message: NodeMessage) -> None:
        """Store a message for each subscription that it concerns."""
        if not self._subscriptions or not isinstance(message, Wake | Superseded | Closed | Joined | CancelCall):
            return
        for item in self._subscriptions:
            if message.key == item.key and getattr(message, "stream", "") in ("", item.stream):
                item.messages.append(message)


class Subscription:
    """One stream that is about to open, and the messages for it."""

    __slots__ = ("_all", "key", "messages", "stream")

    def __init__(self, all_subscriptions: set[Subscription], key: str, stream: str) -> None:
        self._all, self.key, self.stream = all_subscriptions, key, stream
        self.messages: list[NodeMessage] = []

    def __enter__(self) -> list[NodeMessage]:
        self._all.add(self)
        return self.messages

    def __exit__(self, *_: object) -> None:
        self._all.discard(self)
