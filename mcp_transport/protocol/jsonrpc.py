"""JSON-RPC 2.0 messages as MCP restricts them: an id is a string or an integer, never null (basic, "Requests")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from mcp_transport.protocol.errors import invalid_request

__all__ = [
    "LIGHT_METHODS",
    "MAX_ID",
    "MAX_METHOD",
    "MAX_OPERATION",
    "Message",
    "Notification",
    "Outcome",
    "Request",
    "RequestId",
    "Response",
    "is_request_id",
    "parse_message",
    "rejected_id",
]

RequestId = str | int

# Characters or digits of ids and progress tokens, which are stored and repeated in every message of a call.
MAX_ID: Final = 256
_ID_LIMIT: Final = 10**MAX_ID
# Characters of a method, which error messages repeat.
MAX_METHOD: Final = 128

# Characters of a method and a name, which the client chooses, that operators are shown.
MAX_OPERATION: Final = 100
# Methods whose `name` is part of the operation. A URI is left out, since it may contain private data.
_NAMED_METHODS: Final = ("tools/call", "prompts/get")


# What clients send when they connect again.
LIGHT_METHODS: Final = frozenset(
    {
        *("initialize", "ping", "server/discover", "logging/setLevel"),
        *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
        *("resources/subscribe", "resources/unsubscribe", "subscriptions/listen"),
    }
)
"""The methods that run no function of a project."""


@dataclass(slots=True)  # not frozen: see `protocol.http`
class Request:
    """A message that expects a response."""

    id: RequestId
    method: str
    params: Mapping[str, Any] | None
    hidden: bool = False
    """Is its target hidden from its caller? Then it is answered as if the target did not exist."""
    operation: str = field(init=False, repr=False, compare=False)
    """The method and, for a tool or prompt, the name: `tools/call add`."""

    def __post_init__(self) -> None:
        name = self.params.get("name") if self.params and self.method in _NAMED_METHODS else None
        operation = f"{self.method} {name}" if isinstance(name, str) and name else self.method
        self.operation = operation[:MAX_OPERATION]

    @property
    def meta(self) -> Mapping[str, Any]:
        """Return `params._meta`; an empty mapping if it is missing or not an object."""
        meta = (self.params or {}).get("_meta")
        return meta if isinstance(meta, Mapping) else {}

    @property
    def progress_token(self) -> RequestId | None:
        """Return the token for progress notifications, if the client requested any."""
        token = self.meta.get("progressToken")
        return token if is_request_id(token) else None


@dataclass(frozen=True, slots=True)
class Notification:
    """A message that expects no response."""

    method: str
    params: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Response:
    """The peer's response to a request of this server; exactly one of `result`, `error` and `fault` is set."""

    id: RequestId
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    fault: str = ""
    """Why neither is usable; raised where the response is awaited."""


@dataclass(slots=True)  # not frozen: see `protocol.http`
class Outcome:
    """The result or the JSON-RPC error of a request."""

    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    malformed: bool = False
    """Were the parameters invalid for the method? Then a sessionless request gets status 400."""
    status: int = 0
    """The HTTP status of a request that was refused for load, if none has been sent yet; else 0."""

    def body(self, request_id: RequestId) -> dict[str, Any]:
        """Build the JSON-RPC response."""
        member = {"error": self.error} if self.error is not None else {"result": self.result}
        return {"jsonrpc": "2.0", "id": request_id, **member}

    @property
    def failed(self) -> bool:
        """Return whether this counts as an error in metrics and histories."""
        return self.error is not None or bool(self.result and self.result.get("isError"))


Message = Request | Notification | Response


def is_request_id(value: object) -> TypeGuard[RequestId]:
    """Return whether `value` is a valid request id; `true` is not the integer 1."""
    if isinstance(value, str):
        return len(value) <= MAX_ID
    return isinstance(value, int) and not isinstance(value, bool) and -_ID_LIMIT < value < _ID_LIMIT


def parse_message(value: object) -> Message:
    """Parse a decoded JSON value as a JSON-RPC message.

    Raises:
        ProtocolError: 400 / -32600, naming the invalid member.
    """
    if not isinstance(value, dict):
        raise invalid_request(f"a JSON-RPC message must be an object, got {_kind(value)}")
    if value.get("jsonrpc") != "2.0":
        raise invalid_request('a JSON-RPC message must carry "jsonrpc": "2.0"')
    if "method" in value:
        return _parse_call(value)
    if "result" in value or "error" in value:
        return _parse_response(value)
    raise invalid_request('a JSON-RPC message must carry "method", "result" or "error"')


def rejected_id(value: object) -> RequestId | None:
    """Return the id for the error of an invalid message; None for a response, whose id names the server's request."""
    if not isinstance(value, dict) or ("method" not in value and ("result" in value or "error" in value)):
        return None
    request_id = value.get("id")
    return request_id if is_request_id(request_id) else None


def _parse_call(value: dict[str, Any]) -> Request | Notification:
    method, params = value["method"], value.get("params")
    if not isinstance(method, str) or not method:
        raise invalid_request(f'"method" must be a non-empty string, got {_kind(method)}')
    if len(method) > MAX_METHOD:
        raise invalid_request(f'"method" may have at most {MAX_METHOD} characters, got {len(method)}')
    if value.get("result") is not None or value.get("error") is not None:
        raise invalid_request('a message with "method" must not carry "result" or "error"')
    if "id" not in value:
        # A notification gets no error (JSON-RPC 2.0, section 4.1): invalid parameters are dropped.
        return Notification(method, params if isinstance(params, dict) else None)
    if params is not None and not isinstance(params, dict):
        raise invalid_request(f'"params" must be an object, got {_kind(params)}')
    return Request(_parse_id(value["id"]), method, params)


def _parse_response(value: dict[str, Any]) -> Response:
    if "id" not in value:
        raise invalid_request('a response must carry the "id" of the request it answers')
    request_id = _parse_id(value["id"])
    result, error = value.get("result"), value.get("error")
    fault = _response_fault(value, result, error)
    return Response(request_id, None, None, fault) if fault else Response(request_id, result, error)


def _response_fault(value: dict[str, Any], result: object, error: object) -> str:
    """Return why a response is unusable, or ""; many peers send the absent member as null, which is accepted."""
    if result is not None and error is not None:
        return 'a response must carry either "result" or "error", not both'
    member = "error" if error is not None or "result" not in value else "result"
    if not isinstance(value[member], dict):
        return f'"{member}" must be an object, got {_kind(value[member])}'
    if isinstance(error, dict) and not (type(error.get("code")) is int and isinstance(error.get("message"), str)):
        return '"error" must carry an integer "code" and a string "message"'
    return ""


def _parse_id(value: object) -> RequestId:
    if not is_request_id(value):
        raise invalid_request(
            f'"id" must be a string or an integer of up to {MAX_ID} characters or digits, got {_kind(value)}'
        )
    return value


_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")
