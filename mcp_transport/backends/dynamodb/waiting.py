"""The streams of this process for which other nodes may have messages; an inbox is polled often only for these."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["WaitingStreams"]

_Stream = tuple[str, str]


class WaitingStreams:
    """The calls that run in this process, and the streams whose sockets it holds, each by session and stream."""

    def __init__(self) -> None:
        self.running: dict[_Stream, str] = {}
        """The node of this process that runs each stream's calls."""
        self.held: dict[_Stream, str] = {}
        """The node of this process that holds each stream."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when a stream is added: messages for it may follow soon."""

    def run(self, key: str, stream: str, node: str) -> None:
        """Record that a node of this process runs a stream's calls."""
        self.running[key, stream] = node
        self.on_change()

    def hold(self, key: str, stream: str, node: str) -> None:
        """Record that a node of this process holds a stream."""
        self.held[key, stream] = node
        self.on_change()

    def note_holder(self, key: str, stream: str, node: str, *, is_over: bool) -> None:
        """Record the holder that a writer of this process has learnt of, if it is the writer's node."""
        if is_over:
            self.held.pop((key, stream), None)
        elif self.running.get((key, stream)) == node and (key, stream) not in self.held:
            self.hold(key, stream, node)

    def drop(self, key: str) -> None:
        """Forget the streams of a session that has ended."""
        for streams in (self.running, self.held):
            for item in [item for item in list(streams) if item[0] == key]:
                streams.pop(item, None)

    def of_node(self, node: str) -> bool:
        """Return whether there may be messages for a node."""
        return node in self.running.values() or node in self.held.values()
