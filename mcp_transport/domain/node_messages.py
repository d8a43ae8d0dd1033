"""What one node tells another, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_transport.protocol.jsonrpc import RequestId

__all__ = [
    "Broadcast",
    "CancelCall",
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
    "ReplyArrived",
    "StoreReturned",
    "Superseded",
    "Wake",
]


@dataclass(frozen=True, slots=True)
class Wake:
    """A stream you hold has new events in its log."""

    key: str
    stream: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """Another response holds the stream since `epoch`: end yours."""

    key: str
    stream: str
    epoch: int
    asker: str = ""
    """The node that waits to be told how far yours was delivered, if one does."""


@dataclass(frozen=True, slots=True)
class GaveWay:
    """The response that held a GET stream here has ended, behind event `delivered`; 0 if there was none."""

    key: str
    delivered: int


@dataclass(frozen=True, slots=True)
class CancelCall:
    """The client gave up a request you run, or staff has cancelled it."""

    key: str
    request_id: RequestId
    by_staff: bool = False
    stream: str = ""
    """The request's, since a later one may have its id; older releases do not name it."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody reads a stream you write, perhaps since a request was sent again: log it, or end it if it is over."""

    key: str
    stream: str
    request_id: RequestId | None = None


@dataclass(frozen=True, slots=True)
class Doubted:
    """Somebody uses the id of a request again that the books give to you: say to `node` whether yours is over."""

    key: str
    stream: str
    request_id: RequestId
    node: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """The answer to `Doubted`: a request that is over is off the books by now."""

    key: str
    stream: str
    request_id: RequestId
    is_over: bool


@dataclass(frozen=True, slots=True)
class ReplyArrived:
    """The client answered a request you sent it."""

    request_id: str
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Closed:
    """The session ended: stop its calls, end its streams."""

    key: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Something changed on the server: a notification's method and, for a resource, its URI."""

    method: str
    uri: str = ""
    number: str = ""
    """Given by the store; later ones compare greater."""


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node's lease is over: whoever holds streams that it wrote shall take them over."""

    node: str


@dataclass(frozen=True, slots=True)
class Orphaned:
    """A stream's `writer` is dead: take it over."""

    key: str
    stream: str
    writer: str


@dataclass(frozen=True, slots=True)
class LeaseLapsed:
    """Your own lease was over for a while: others may have taken your streams over."""


@dataclass(frozen=True, slots=True)
class StoreReturned:
    """The store was away for a while: it may have lost what it was told last."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Send no new clients here: you are about to be stopped."""


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
    | Broadcast
    | NodeLost
    | Orphaned
    | LeaseLapsed
    | StoreReturned
    | Drain
)
