"""JSON-RPC 2.0 messages as MCP narrows them: an id is a string or an integer, never null (basic, "Requests")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from mcp_transport.protocol.errors import invalid_request

__all__ = [
    "MAX_ID",
    "MAX_METHOD",
    "Message",
    "Notification",
    "Request",
    "RequestId",
    "Response",
    "is_request_id",
    "parse_message",
    "rejected_id",
]

RequestId = str | int

# Characters or digits of ids and progress tokens, which are stored, and repeated in every message of a call.
MAX_ID: Final = 256
_BEYOND_IDS: Final = 10**MAX_ID
# Methods are repeated in refusals.
MAX_METHOD: Final = 128


@dataclass(slots=True)  # not frozen: see `protocol.http`
class Request:
    """A message that is owed an answer."""

    id: RequestId
    method: str
    params: Mapping[str, Any] | None
    hidden: bool = False
    """Does it ask for something that its caller may not use, and shall not know of?"""

    @property
    def meta(self) -> Mapping[str, Any]:
        """Return what stands in `_meta`."""
        meta = (self.params or {}).get("_meta")
        return meta if isinstance(meta, Mapping) else {}

    @property
    def progress_token(self) -> RequestId | None:
        """Return what progress notifications shall name, if the client wants any."""
        token = self.meta.get("progressToken")
        return token if is_request_id(token) else None


@dataclass(frozen=True, slots=True)
class Notification:
    """A message that gets no answer."""

    method: str
    params: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Response:
    """The peer's answer to a request of ours; exactly one of `result`, `error` and `fault` is set."""

    id: RequestId
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    fault: str = ""
    """Why neither can be used; whoever waits for the answer is told."""


Message = Request | Notification | Response


def is_request_id(value: object) -> TypeGuard[RequestId]:
    """Tell whether `value` may identify a request; `true` is not the integer 1."""
    if isinstance(value, str):
        return len(value) <= MAX_ID
    return isinstance(value, int) and not isinstance(value, bool) and -_BEYOND_IDS < value < _BEYOND_IDS


def parse_message(value: object) -> Message:
    """Read one decoded JSON value as a JSON-RPC message.

    Raises:
        ProtocolError: 400 / -32600, naming the member that is wrong.
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
    """Return the id for the refusal of a decoded message; that of a response names a request of ours."""
    if not isinstance(value, dict) or ("method" not in value and ("result" in value or "error" in value)):
        return None
    request_id = value.get("id")
    return request_id if is_request_id(request_id) else None


def _parse_call(value: dict[str, Any]) -> Request | Notification:
    method, params = value["method"], value.get("params")
    if not isinstance(method, str) or not method:
        raise invalid_request(f'"method" must be a non-empty string, got {_kind(method)}')
    if len(method) > MAX_METHOD:
        raise invalid_request(f'"method" may have {MAX_METHOD} characters, got {len(method)}')
    if value.get("result") is not None or value.get("error") is not None:
        raise invalid_request('a message with "method" must not carry "result" or "error"')
    if "id" not in value:
        # Nobody is told what is wrong with a notification (JSON-RPC 2.0, section 4.1): one without usable parameters.
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
    """Say why a response cannot be used; many peers write the member that is not there as null."""
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
            f'"id" must be a string of up to {MAX_ID} characters or an integer of as many digits, got {_kind(value)}'
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
