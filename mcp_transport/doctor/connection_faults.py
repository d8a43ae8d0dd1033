"""Why a connection failed: the kind of the first cause in an exception's chain."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from enum import StrEnum

__all__ = ["Fault", "fault_of"]


class Fault(StrEnum):
    """Why there is no answer."""

    NONE = ""
    REFUSED = "refused"
    UNRESOLVED = "unresolved"
    PLAIN = "plain"
    """TLS was expected, and the port speaks plain HTTP."""
    CERTIFICATE = "certificate"
    CLOSED = "closed"
    """The connection was closed without an answer."""
    TIMEOUT = "timeout"
    OTHER = "other"


_PLAIN_REASONS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def fault_of(error: BaseException) -> Fault:
    """Return the kind of an exception of the HTTP client."""
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Fault.CERTIFICATE
        if isinstance(cause, ssl.SSLError) and cause.reason in _PLAIN_REASONS:
            return Fault.PLAIN
        if isinstance(cause, socket.gaierror):
            return Fault.UNRESOLVED
        if isinstance(cause, ConnectionRefusedError):
            return Fault.REFUSED
        if isinstance(cause, ConnectionResetError | BrokenPipeError) or "disconnected" in str(cause):
            return Fault.CLOSED
        if isinstance(cause, TimeoutError):
            return Fault.TIMEOUT
    return Fault.OTHER


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes, those of groups too, innermost last."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _chain(part)
    if (cause := error.__cause__ or error.__context__) is not None:
        yield from _chain(cause)
