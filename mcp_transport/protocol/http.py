"""An HTTP request and its response as plain values; adapters convert them from and to a framework's objects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mcp_transport.protocol.headers import Headers

__all__ = ["MAX_HTTP_METHOD", "FrameSource", "HTTPRequest", "Reply", "StreamReply"]

HeaderList = tuple[tuple[str, str], ...]

MAX_HTTP_METHOD: Final = 40
"""Characters of an HTTP method that are read; every method that is served is shorter."""


# These values are never changed. Classes created for each request are not frozen: that would cost 5 µs per request.


@dataclass(slots=True, kw_only=True, eq=False)
class HTTPRequest:
    """An HTTP request without its body, which is read only after the checks of its headers."""

    method: str
    headers: Headers
    path: str = "/"
    peer: str = ""
    """The client's address: `protocol.client_address.TrustedProxies.client`."""
    user: Any = None
    """The user that the framework authenticated, if any."""
    scheme: str = ""
    """The scheme of the connection according to the framework, `http` or `https`."""
    http_version: str = ""
    """The version of the connection, such as `1.1`, if known."""
    source: Any = None
    """The framework's own request, if its middleware has run."""
    memory: Any = None
    """The `engine.memory_budget.Reservation` for the body; None for a small one."""
    streaming: bool = True
    """Can the framework stream a response? WSGI and buffered Lambda cannot."""
    gateway: Any = None
    """What a gateway in front knows of the request, and of the caller it has authenticated; None without one."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """A complete response."""

    status: int
    headers: HeaderList = ()
    body: bytes = b""


class FrameSource(Protocol):
    """An iterator of frames; its consumer closes it, whether it was exhausted or not."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None:
        """Stop producing frames: the consumer no longer reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReply:
    """A streamed response; closing its frames means that the client disconnected."""

    status: int
    headers: HeaderList
    frames: FrameSource
