"""The streams, writers and calls of one node; only the registry adds and removes them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mcp_transport.backends.results import Holder
from mcp_transport.domain.node_messages import CancelCall, Closed, Joined, NodeMessage, Superseded, Wake
from mcp_transport.engine.call import Call
from mcp_transport.engine.observer import ClusterEvent, Observer
from mcp_transport.engine.stream import OpenStream
from mcp_transport.engine.writer import Writer
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.protocol.targets import LISTEN

__all__ = ["OpeningStream", "Registry"]

StreamKey = tuple[str, str]
"""The key of a session, and the name of one of its streams."""


class Registry:
    """The open streams, the writers and the running calls of the node `node`."""

    def __init__(self, node: str, observer: Observer) -> None:
        self._node, self._observer = node, observer
        self._streams: dict[StreamKey, OpenStream] = {}
        self._writers: dict[StreamKey, Writer] = {}
        self._calls: dict[tuple[str, RequestId], Call] = {}
        self._running: set[Call] = set()
        self.opening_streams: set[OpeningStream] = set()
        self.streams: Mapping[StreamKey, OpenStream] = MappingProxyType(self._streams)
        self.writers: Mapping[StreamKey, Writer] = MappingProxyType(self._writers)

    # -- calls ---------------------------------------------------------------------------------------

    @property
    def running(self) -> frozenset[Call]:
        """Return the running calls."""
        return frozenset(self._running)

    def call(self, key: str, request_id: RequestId) -> Call | None:
        """Return the running call of a session's request."""
        return self._calls.get((key, request_id))

    def calls_of(self, key: str) -> list[Call]:
        """Return the running calls of a session."""
        return [call for (owner, _), call in self._calls.items() if owner == key]

    def add_call(self, call: Call) -> None:
        """Register a call that is about to start."""
        self._running.add(call)
        if call.writer is not None:
            self._calls[call.writer.key, call.request.id] = call

    def remove_call(self, call: Call) -> None:
        """Remove a call that has ended."""
        self._running.discard(call)
        if call.writer is not None:
            self._calls.pop((call.writer.key, call.request.id), None)

    def expects_messages(self) -> bool:
        """Return whether other nodes may have messages: for a call of a session, a stream, or a subscription."""
        if self._calls or self._streams or self.opening_streams:
            return True
        return any(call.request.method == LISTEN for call in self._running)

    # -- writers -------------------------------------------------------------------------------------

    def add_writer(self, writer: Writer) -> None:
        """Register the writer of a stream."""
        self._writers[writer.key, writer.stream] = writer

    def remove_writer(self, writer: Writer) -> None:
        """Remove a writer that has nothing left to write, or must no longer write."""
        self._writers.pop((writer.key, writer.stream), None)

    # -- open streams --------------------------------------------------------------------------------

    def add_stream(self, stream: OpenStream) -> None:
        """Register an open stream, and end its older response."""
        if (older := self._streams.get((stream.key, stream.stream))) is not None:
            older.supersede()
        self._streams[stream.key, stream.stream] = stream

    def remove_stream(self, stream: OpenStream) -> None:
        """Remove an open stream, unless a newer response has replaced it."""
        if self._streams.get((stream.key, stream.stream)) is stream:
            del self._streams[stream.key, stream.stream]

    def close_stream(self, key: str, name: str) -> None:
        """Remove an open stream, and close its socket."""
        if (stream := self._streams.pop((key, name), None)) is not None:
            stream.end()

    def adopt_holder(self, key: str, name: str, holder: Holder) -> None:
        """Adopt the store's record of the node that holds a stream which this node writes."""
        stream = self._streams.get((key, name))
        if stream is not None and stream.epoch == 0 and holder.node == self._node:
            stream.epoch = holder.epoch
        elif holder.node != self._node:
            self.yield_to_newer_holder(key, name, holder.epoch)

    def yield_to_newer_holder(self, key: str, name: str, epoch: int) -> None:
        """Close the socket of a stream that has a newer holder since `epoch`."""
        stream = self._streams.get((key, name))
        if stream is not None and stream.epoch < epoch:
            self._observer.report(ClusterEvent.SUPERSEDED, key, stream=name)
            self.remove_stream(stream)
            stream.supersede()

    # -- streams that are about to open --------------------------------------------------------------

    def opening(self, key: str, stream: str) -> OpeningStream:
        """Store the messages of a stream that is about to open here, during a `with` block."""
        return OpeningStream(self.opening_streams, key, stream)

    def is_opening(self, key: str, stream: str) -> bool:
        """Return whether a stream is about to open here."""
        return any((item.key, item.stream) == (key, stream) for item in self.opening_streams)

    def store_early(self, message: NodeMessage) -> None:
        """Store a message for the streams about to open that it concerns."""
        if not isinstance(message, Wake | Superseded | Closed | Joined | CancelCall):
            return
        for item in self.opening_streams:
            if message.key == item.key and getattr(message, "stream", "") in ("", item.stream):
                item.messages.append(message)

    # -- the whole -----------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Return whether no stream is about to open, and none is written."""
        return not self.opening_streams and not self._writers


class OpeningStream:
    """A stream that is about to open, and the messages for it since the store has recorded it at this node."""

    __slots__ = ("_all", "key", "messages", "stream")

    def __init__(self, all_streams: set[OpeningStream], key: str, stream: str) -> None:
        self._all, self.key, self.stream = all_streams, key, stream
        self.messages: list[NodeMessage] = []

    def __enter__(self) -> list[NodeMessage]:
        self._all.add(self)
        return self.messages

    def __exit__(self, *_: object) -> None:
        self._all.discard(self)
