"""A framework's request and our answer, as values; adapters translate to and from these."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mcp_transport.protocol.headers import Headers

__all__ = ["MAX_HTTP_METHOD", "FrameSource", "HTTPRequest", "Reply", "StreamReply"]

HeaderList = tuple[tuple[str, str], ...]

MAX_HTTP_METHOD: Final = 40
"""Characters of an HTTP method that are looked at; none that is served has as many."""


# Nobody changes these values. They are not frozen, nor are others that each request makes: it would pay 5 µs for it.


@dataclass(slots=True, kw_only=True, eq=False)
class HTTPRequest:
    """An HTTP request without its body, which is read only when the rules before it hold."""

    method: str
    headers: Headers
    path: str = "/"
    peer: str = ""
    """The client's address: `protocol.client_address.TrustedProxies.client`."""
    user: Any = None
    """The user the framework authenticated, if it did."""
    scheme: str = ""
    """What the framework takes the connection for, `http` or `https`."""
    http_version: str = ""
    """Of the connection that it came by, such as 1.1, where that is known."""
    source: Any = None
    """The framework's own request, where its middleware has seen it."""
    memory: Any = None
    """The `engine.memory_budget.Reservation` for the body, unless that is small."""
    streaming: bool = True
    """Can the framework send an answer piece by piece? WSGI and buffered Lambda cannot."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """A complete answer."""

    status: int
    headers: HeaderList = ()
    body: bytes = b""


class FrameSource(Protocol):
    """Frames as they come; whoever reads them closes the source, read to its end or not."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None:
        """Say that nobody reads any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReply:
    """An answer that is written as its frames come; closing them says that the client left."""

    status: int
    headers: HeaderList
    frames: FrameSource
