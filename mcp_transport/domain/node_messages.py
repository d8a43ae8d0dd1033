"""Messages between nodes.

The names of these classes and their fields are the wire format (`backends.codec`): nodes of two releases run
side by side during a deployment, so a rename needs a transition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_transport.protocol.jsonrpc import RequestId

__all__ = [
    "Broadcast",
    "CancelCall",
    "CircuitClosed",
    "CircuitOpened",
    "Cleared",
    "Closed",
    "Doubted",
    "Drain",
    "GaveWay",
    "Joined",
    "LeaseLapsed",
    "NodeLost",
    "NodeMessage",
    "Orphaned",
    "Rehomed",
    "ReplyArrived",
    "StoreReturned",
    "Superseded",
    "Wake",
]


@dataclass(frozen=True, slots=True)
class Wake:
    """The log of a stream that the receiver holds has new events."""

    key: str
    stream: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """Another response holds the stream since `epoch`: the receiver must end its own."""

    key: str
    stream: str
    epoch: int
    asker: str = ""
    """The node that waits for the receiver's delivery position (`GaveWay`), if any."""


@dataclass(frozen=True, slots=True)
class GaveWay:
    """The sender's response on a GET stream has ended after event number `delivered`, or 0 without a response."""

    key: str
    delivered: int


@dataclass(frozen=True, slots=True)
class CancelCall:
    """The client or staff cancelled a request that the receiver runs."""

    key: str
    request_id: RequestId
    by_staff: bool = False
    stream: str = ""
    """The request's stream, since a later request may reuse the id; older releases do not send it."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A client connected to a stream that the receiver writes, perhaps by repeating a request.

    The receiver must log the stream's events from now on, or end the stream if its request is over.
    """

    key: str
    stream: str
    request_id: RequestId | None = None


@dataclass(frozen=True, slots=True)
class Doubted:
    """A client reused the id of a request that is registered as in flight on the receiver.

    The receiver must answer `node` with `Cleared`.
    """

    key: str
    stream: str
    request_id: RequestId
    node: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """The answer to `Doubted`; a request that is over has been removed from the in-flight requests."""

    key: str
    stream: str
    request_id: RequestId
    is_over: bool


@dataclass(frozen=True, slots=True)
class ReplyArrived:
    """The client answered a request that the receiver sent it."""

    request_id: str
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Closed:
    """A session ended: the receiver must stop its calls and end its streams."""

    key: str


@dataclass(frozen=True, slots=True)
class Rehomed:
    """A session has its home in another region now: the receiver must end what it still has of it."""

    key: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A server event: the method of its notification and, for a resource, the URI."""

    method: str
    uri: str = ""
    number: str = ""
    """Assigned by the store; later ones compare greater."""


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node's lease has expired: the receiver must take over the streams that it holds and that node wrote."""

    node: str


@dataclass(frozen=True, slots=True)
class Orphaned:
    """A stream's `writer` is dead: the receiver must take it over."""

    key: str
    stream: str
    writer: str


@dataclass(frozen=True, slots=True)
class LeaseLapsed:
    """The receiver's own lease had expired for a while: other nodes may have taken over its streams."""


@dataclass(frozen=True, slots=True)
class StoreReturned:
    """The store was unavailable for a while: it may have lost the last writes."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The receiver is about to be stopped: it must report not ready, so that it gets no new clients."""


@dataclass(frozen=True, slots=True)
class CircuitOpened:
    """A tool's circuit breaker has opened on the sender, for so many seconds from now: clocks differ."""

    tool: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """A tool's circuit breaker has closed on the sender, or staff has reset it."""

    tool: str


NodeMessage = (
    Wake
    | Superseded
    | GaveWay
    | CancelCall
    | Joined
    | Doubted
    | Cleared
    | ReplyArrived
    | Closed
    | Rehomed
    | Broadcast
    | NodeLost
    | Orphaned
    | LeaseLapsed
    | StoreReturned
    | Drain
    | CircuitOpened
    | CircuitClosed
)
