"""Every error this package raises, in one tree: whose fault it is decides the branch.

MCPTransportError
 +-- ProtocolError       the peer's fault: answered with an HTTP status and a JSON-RPC code
 +-- BackendError        the store's fault: answered with 503, never with 404
 |    +-- Unreadable     what the store holds is not what belongs there: such a session is unknown
 +-- InvalidCredentials  the caller's fault: answered with 401
 +-- DefinitionError     the developer's fault: raised where a tool, resource or prompt is declared
 +-- ClientGone          nobody's fault: the client left before its request was read
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BackendError",
    "ClientGone",
    "DefinitionError",
    "InvalidCredentials",
    "MCPTransportError",
    "ProtocolError",
    "Unreadable",
]


class MCPTransportError(Exception):
    """The root of this package's errors."""


class ProtocolError(MCPTransportError):
    """A request that breaks a rule of the protocol, with the answer it gets.

    `status` is the HTTP status, `code` the JSON-RPC code, `message` what was expected and what came.
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
        """Of a request that was not decoded, where its id could be read all the same."""
        self.principal: Any = None
        """Whom it refuses, where that was known already; an auditor is told."""
        self.is_logged = False
        """Is it one of many that a log line tells of together?"""


class BackendError(MCPTransportError):
    """The session backend did not answer; the client may try again."""


class Unreadable(BackendError):
    """What the store holds under a key is not what belongs there, and costs no more than that record."""


class InvalidCredentials(MCPTransportError):
    """Credentials that are wrong, and why: an operator reads that in the log, the caller learns no more than 401."""


class DefinitionError(MCPTransportError, TypeError):
    """A tool, resource or prompt that cannot be served as it is declared, or a result that must not be sent."""


class ClientGone(MCPTransportError):
    """The client closed the connection before its request was read."""
