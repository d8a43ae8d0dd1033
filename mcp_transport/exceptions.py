"""All exceptions of this package, grouped by the party at fault.

MCPTransportError
 +-- ProtocolError       the client's fault: answered with an HTTP status and a JSON-RPC code
 +-- BackendError        the store's fault: answered with 503, never with 404
 |    +-- Unreadable     a record in the store is malformed: such a session is unknown
 |    +-- StoreUnreachable  nothing has answered, unlike a store that refuses
 +-- InvalidCredentials  the client's fault: answered with 401
 +-- Overloaded          nobody's fault: answered with 429 or 503, and the client may try again
 +-- DefinitionError     the developer's fault: raised where a tool, resource or prompt is declared
 +-- ClientDisconnected  nobody's fault: the client disconnected before its request was read
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BackendError",
    "ClientDisconnected",
    "DefinitionError",
    "InvalidCredentials",
    "MCPTransportError",
    "Overloaded",
    "ProtocolError",
    "StoreUnreachable",
    "Unreadable",
]


class MCPTransportError(Exception):
    """The base class of this package's exceptions."""


class ProtocolError(MCPTransportError):
    """A request violates the protocol; the attributes describe the response.

    `status` is the HTTP status, `code` the JSON-RPC code, `message` states what was expected and received.
    """

    def __init__(
        self, status: int, code: int, message: str, *, data: Any = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.data = data
        self.headers = headers
        self.request_id: str | int | None = None
        """The id of a request that could not be decoded, if the id could be."""
        self.principal: Any = None
        """The principal of a refused request, if authenticated, for the audit log."""
        self.reason = ""
        """Why the request was refused, for metrics; the status if empty."""
        self.is_logged = False
        """Whether one log line already covers this error and others."""


class BackendError(MCPTransportError):
    """The session store did not respond; the client may retry."""


class Unreadable(BackendError):
    """A record in the store is malformed; only that record is lost."""


class StoreUnreachable(BackendError):
    """Nothing has answered, or a server that has not run the request."""


class InvalidCredentials(MCPTransportError):
    """The credentials are invalid; the reason is logged, and the client gets only a 401."""


class Overloaded(MCPTransportError):
    """A call is refused, since too much runs and waits; it did not run, and may be sent again.

    `limit` is the setting or option that refuses, `key` says whose share is used up ("caller", "tool" or "server"),
    `retry_after` is in seconds.
    """

    def __init__(self, message: str, *, limit: str, key: str, retry_after: float) -> None:
        super().__init__(message)
        self.limit, self.key, self.retry_after = limit, key, retry_after


class DefinitionError(MCPTransportError, TypeError):
    """A declared tool, resource or prompt cannot be served, or a result must not be sent."""


class ClientDisconnected(MCPTransportError):
    """The client disconnected before its request was read."""
