"""Exceptions for requests whose result did not arrive, and their form as JSON-RPC errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED

__all__ = [
    "ClientError",
    "EndpointsUnavailable",
    "LoadRefusal",
    "ResultUnknown",
    "from_jsonrpc_error",
    "is_lost_call",
    "load_refusal",
    "to_jsonrpc_error",
    "unwrap_single",
]

# The member of an error's `data` with the name of the exception.
_KIND: Final = "mcp_transport/kind"


class ClientError(Exception):
    """A request without a result, for a reason other than an error response of the server."""

    retryable: bool
    """Is it safe to send the request again?"""

    def __init__(self, message: str, *, retryable: bool, endpoints: Mapping[str, str] = MappingProxyType({})) -> None:
        """Store what happened, whether a retry is safe, and the last error of each endpoint, by URL."""
        super().__init__(message)
        self.retryable = retryable
        self.endpoints = dict(endpoints)

    def __str__(self) -> str:
        return "; ".join([str(self.args[0]), *(f"{url}: {error}" for url, error in self.endpoints.items())])


class EndpointsUnavailable(ClientError, ConnectionError):
    """No endpoint accepted the request within the deadline; it did not run, or is safe to send again."""


class ResultUnknown(ClientError):
    """The request was sent and its response was lost: it may have run, and its result is unknown."""


_KINDS: Final = {kind.__name__: kind for kind in (EndpointsUnavailable, ResultUnknown)}


def to_jsonrpc_error(error: ClientError) -> dict[str, Any]:
    """Return an exception as a JSON-RPC error, the form in which a transport reports failures to its session."""
    data = {_KIND: type(error).__name__, "retryable": error.retryable, "endpoints": error.endpoints}
    return {"code": CONNECTION_CLOSED, "message": str(error.args[0]), "data": data}


def from_jsonrpc_error(error: MCPError) -> Exception:
    """Return the exception that `to_jsonrpc_error` wrote, `ResultUnknown` for a lost call, or the error itself."""
    data = error.data
    if not isinstance(data, dict):
        return error
    kind = _KINDS.get(str(data.get(_KIND)))
    if kind is not None:
        return kind(error.message, retryable=bool(data.get("retryable")), endpoints=data.get("endpoints") or {})
    if is_lost_call(data):
        return ResultUnknown(error.message, retryable=data["retryable"])
    return error


def is_lost_call(data: object) -> bool:
    """Return whether an error's `data` is that of a call whose node died (docs/reference/errors.md)."""
    return isinstance(data, dict) and data.keys() == {"retryable"} and isinstance(data["retryable"], bool)


@dataclass(frozen=True, slots=True)
class LoadRefusal:
    """A server's refusal of a request for load: the request did not run."""

    message: str
    seconds: float
    """After which the server asks for the request again."""
    is_for_tool: bool
    """Is it a limit of the called tool, so that other requests need not wait?"""


def load_refusal(response: Mapping[str, Any] | None) -> LoadRefusal | None:
    """Return the refusal for load that a JSON-RPC response is (docs/reference/errors.md), or None."""
    error = response.get("error") if response else None
    data = error.get("data") if isinstance(error, dict) else None
    if not isinstance(error, dict) or not isinstance(data, dict) or data.get("retryable") is not True:
        return None
    milliseconds = data.get("retryAfterMs")
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    if not (math.isfinite(milliseconds) and milliseconds >= 0):
        return None
    return LoadRefusal(str(error.get("message", "")), milliseconds / 1000, data.get("key") == "tool")


def unwrap_single(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the single error in nested groups of the SDK's task groups, or the group if it has several."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return group if isinstance(error, BaseExceptionGroup) else error
