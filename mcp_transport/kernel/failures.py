"""Why a request has no result: what its handler has raised, noted where the exception is turned into an outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from mcp.server.mcpserver.exceptions import ResourceError, ToolError, UnexpectedResourceError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from mcp_transport.domain.history import MAX_ERROR, MAX_MESSAGE, FailureKind
from mcp_transport.exceptions import Overloaded
from mcp_transport.kernel.errors import Refused, TooLarge
from mcp_transport.protocol.errors import INVALID_PARAMS, METHOD_NOT_FOUND, RESOURCE_NOT_FOUND
from mcp_transport.protocol.jsonrpc import Outcome

__all__ = ["ExceptionText", "NotFound", "RaisedError", "no_text", "note_failure", "raised_error", "raised_in"]

ExceptionText = Callable[[BaseException], str]
"""Returns the text of an exception, as far as it may be shown."""

_UNEXPECTED: Final = (UnexpectedToolError, UnexpectedResourceError)
_MAX_CAUSES: Final = 20
_UNKNOWN_CODES: Final = (METHOD_NOT_FOUND, RESOURCE_NOT_FOUND)


@dataclass(frozen=True, slots=True)
class RaisedError:
    """An exception, without what refers to its frames and so to the arguments of the call."""

    kind: FailureKind
    error: str
    """The name of its class or, of a refusal, of the limit."""
    text: str = ""


class NotFound(MCPError):
    """There is no such tool, prompt or resource."""


_raised: ContextVar[RaisedError | None] = ContextVar("mcp_transport_raised", default=None)


def no_text(error: BaseException) -> str:
    """Return no text."""
    return ""


def note_failure(error: BaseException, text: ExceptionText = no_text) -> None:
    """Note what the running request has raised."""
    _raised.set(raised_error(error, text))


def raised_error(error: BaseException, text: ExceptionText = no_text) -> RaisedError:
    """Return what is kept of an exception; the SDK wraps those of handlers."""
    if isinstance(error, Overloaded):
        return RaisedError(FailureKind.REFUSED, error.limit[:MAX_ERROR])
    cause = error.__cause__
    if isinstance(error, ToolError) and isinstance(cause, ValidationError) and not isinstance(error, _UNEXPECTED):
        return RaisedError(FailureKind.INVALID, type(cause).__name__)
    for _ in range(_MAX_CAUSES):  # a bound, since causes may go in a circle
        if not isinstance(error, ToolError | ResourceError) or error.__cause__ is None:
            break
        error = error.__cause__
    kind = FailureKind.TOOL_ERROR if isinstance(error, ToolError | ResourceError) else _kind(error)
    name = type(error).__name__[:MAX_ERROR]
    if isinstance(error, Refused) and isinstance(error.data, dict):
        name = str(error.data.get("limit", name))[:MAX_ERROR]
    return RaisedError(kind, name, text(error)[:MAX_MESSAGE] if kind is FailureKind.EXCEPTION else "")


def raised_in(outcome: Outcome) -> RaisedError:
    """Return what a request that ended with an error has raised, as far as the running task knows."""
    raised, error = _raised.get(), outcome.error
    if raised is not None:
        return raised
    if error is None:
        return RaisedError(FailureKind.TOOL_ERROR, "")
    if outcome.status:
        return RaisedError(FailureKind.REFUSED, "")
    return RaisedError(_kind_of_code(error.get("code")), "")


def _kind(error: BaseException) -> FailureKind:
    if isinstance(error, TooLarge):
        return FailureKind.TOO_LARGE
    if isinstance(error, Refused):
        return FailureKind.REFUSED
    if isinstance(error, ValidationError):
        return FailureKind.INVALID
    if not isinstance(error, MCPError):
        return FailureKind.EXCEPTION
    is_missing = isinstance(error, NotFound) or (isinstance(error.data, dict) and "uri" in error.data)
    return FailureKind.UNKNOWN if is_missing else _kind_of_code(error.code)


def _kind_of_code(code: object) -> FailureKind:
    if code in _UNKNOWN_CODES:
        return FailureKind.UNKNOWN
    return FailureKind.INVALID if code == INVALID_PARAMS else FailureKind.ERROR
