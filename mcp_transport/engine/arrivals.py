"""Messages for a stream that is not here yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mcp_transport.protocol.inbox import Closed, Joined, NodeMessage, Superseded, Wake

__all__ = ["Arrivals"]


class Arrivals:
    """Collects what arrives for a stream between the store's word that it is here and its being here."""

    def __init__(self) -> None:
        self._expected: list[tuple[str, str, list[NodeMessage]]] = []

    def __bool__(self) -> bool:
        return bool(self._expected)

    def __contains__(self, stream: tuple[str, str]) -> bool:
        return any(expected[:2] == stream for expected in self._expected)

    @contextmanager
    def expected(self, key: str, stream: str) -> Iterator[list[NodeMessage]]:
        """Keep the stream's messages, from now to the end of the block."""
        expected = (key, stream, list[NodeMessage]())
        self._expected.append(expected)
        try:
            yield expected[2]
        finally:
            # By identity: two that expect the same may have the same contents.
            self._expected = [other for other in self._expected if other is not expected]

    def keep(self, message: NodeMessage) -> None:
        """Keep a message for each that expects it."""
        if not self._expected or not isinstance(message, Wake | Superseded | Closed | Joined):
            return
        for key, stream, held in self._expected:
            if message.key == key and getattr(message, "stream", stream) == stream:
                held.append(message)
