"""What a call ends with when no endpoint gave its result."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED

__all__ = [
    "ClientError",
    "EndpointsUnavailable",
    "ResultUnknown",
    "error_of",
    "is_lost_call",
    "named_error",
    "sole_error",
]

# The member of an error's `data` that says which exception the error becomes.
_KIND: Final = "mcp_transport/kind"


class ClientError(Exception):
    """A request that got no result, for a reason that is not the server's answer."""

    retryable: bool
    """Is it safe to send the request again?"""

    def __init__(self, message: str, *, retryable: bool, endpoints: Mapping[str, str] = MappingProxyType({})) -> None:
        """Say what happened, whether a repetition is safe, and the last error of each endpoint, by URL."""
        super().__init__(message)
        self.retryable = retryable
        self.endpoints = dict(endpoints)

    def __str__(self) -> str:
        return "; ".join([str(self.args[0]), *(f"{url}: {error}" for url, error in self.endpoints.items())])


class EndpointsUnavailable(ClientError, ConnectionError):
    """No endpoint took the request within the deadline; the request did not run, or is safe to send again."""


class ResultUnknown(ClientError):
    """The request was sent and its answer was lost: it may have run, and nobody can tell its result."""


_NAMED: Final = {kind.__name__: kind for kind in (EndpointsUnavailable, ResultUnknown)}


def error_of(error: ClientError) -> dict[str, Any]:
    """Write an exception as a JSON-RPC error, which is how a transport tells its client session of a failure."""
    data = {_KIND: type(error).__name__, "retryable": error.retryable, "endpoints": error.endpoints}
    return {"code": CONNECTION_CLOSED, "message": str(error.args[0]), "data": data}


def named_error(error: MCPError) -> Exception:
    """Return the exception that `error_of` wrote, one for a call that its server lost, or else the error itself."""
    data = error.data
    if not isinstance(data, dict):
        return error
    kind = _NAMED.get(str(data.get(_KIND)))
    if kind is not None:
        return kind(error.message, retryable=bool(data.get("retryable")), endpoints=data.get("endpoints") or {})
    if is_lost_call(data):
        return ResultUnknown(error.message, retryable=data["retryable"])
    return error


def is_lost_call(data: object) -> bool:
    """Tell whether an error's `data` is that of a call whose node died (docs/reference/errors.md)."""
    return isinstance(data, dict) and data.keys() == {"retryable"} and isinstance(data["retryable"], bool)


def sole_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error that the task groups of the SDK have wrapped, or the group if there are several."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return group if isinstance(error, BaseExceptionGroup) else error
