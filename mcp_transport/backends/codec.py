"""Encode and decode values that the distributed backends store: ids, times, failures, messages between nodes.

Stored times are whole milliseconds; Python's are seconds as floats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import orjson

from mcp_transport.domain.history import MAX_ARGUMENTS, MAX_ERROR, MAX_MESSAGE, Ending, Failure, FailureKind
from mcp_transport.domain.node_messages import NodeMessage
from mcp_transport.domain.session import MAX_TIMESTAMP
from mcp_transport.exceptions import Unreadable
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id
from mcp_transport.supervision import log_failure

__all__ = [
    "decode_failure",
    "decode_id",
    "decode_message",
    "dumps",
    "each",
    "encode_failure",
    "encode_id",
    "encode_message",
    "milliseconds",
    "seconds",
    "strict",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Raw = TypeVar("_Raw")

_MESSAGES: Final = {kind.__name__: kind for kind in NodeMessage.__args__}
_MEMBERS: Final = {name: frozenset(field.name for field in fields(kind)) for name, kind in _MESSAGES.items()}
_MAX_MILLISECONDS: Final = int(MAX_TIMESTAMP * 1000)


def strict(decode: Callable[_P, _T]) -> Callable[_P, _T]:
    """Make `decode` raise Unreadable in place of any exception."""

    @wraps(decode)
    def guarded(*args: _P.args, **options: _P.kwargs) -> _T:
        try:
            return decode(*args, **options)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise Unreadable(f"{decode.__name__.lstrip('_')} cannot read the stored value: {reason}") from error

    return guarded


def each(what: str, items: Iterable[_Raw], decode: Callable[[_Raw], _T]) -> list[_T]:
    """Decode items one by one; log and skip unreadable ones."""
    decoded = []
    for item in items:
        try:
            decoded.append(decode(item))
        except Exception as error:
            log_failure(f"{what} cannot be read", error)
    return decoded


def milliseconds(seconds: float) -> int:
    """Convert seconds to whole milliseconds."""
    return round(seconds * 1000)


def seconds(raw: bytes | int) -> float:
    """Convert milliseconds to seconds. Raises: ValueError for a time that no release has written."""
    if 0 <= (value := int(raw)) <= _MAX_MILLISECONDS:
        return value / 1000
    raise ValueError("not a time")


def dumps(value: Any) -> bytes:
    """Encode JSON, including integers beyond 64 bits, which orjson cannot encode (and decodes as floats)."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()


def encode_id(request_id: RequestId) -> bytes:
    """Encode a request id; 1 and "1" are two ids (JSON-RPC 2.0, section 4)."""
    return orjson.dumps(request_id) if isinstance(request_id, str) else b"%d" % request_id


def decode_id(raw: bytes) -> RequestId:
    """Decode a request id. Raises: ValueError."""
    request_id: RequestId = json.loads(raw)
    if not is_request_id(request_id):
        raise ValueError("not a request id")
    return request_id


def encode_failure(failure: Failure) -> bytes:
    """Encode why a request has no result; its ending is stored elsewhere."""
    texts = [text.encode(errors="replace").decode() for text in (failure.error, failure.message, failure.arguments)]
    return dumps([failure.kind, failure.code, *texts])


def decode_failure(raw: bytes, ending: Ending) -> Failure:
    """Decode why a request that ended like this has no result. Raises: ValueError, TypeError."""
    kind, code, error, message, arguments = orjson.loads(raw)
    texts = {"error": (error, MAX_ERROR), "message": (message, MAX_MESSAGE), "arguments": (arguments, MAX_ARGUMENTS)}
    if not all(isinstance(text, str) for text, _ in texts.values()) or type(code) not in (int, type(None)):
        raise ValueError("not a failure")
    cut = {name: text[:limit] for name, (text, limit) in texts.items()}
    return Failure(ending=ending, kind=FailureKind(kind), code=code, **cut)


def encode_message(message: NodeMessage) -> bytes:
    """Encode a message to a node."""
    kind = type(message).__name__
    try:
        return orjson.dumps([kind, message])  # without `asdict`, which would copy the client's data
    except TypeError:  # integers beyond 64 bits: as a JSON string, which `json` must decode
        return orjson.dumps([kind, json.dumps(asdict(message))])


@strict
def decode_message(raw: bytes) -> NodeMessage | None:
    """Decode a message, without fields that a newer release has added; return None for a type that it has added."""
    kind, members = orjson.loads(raw)
    if kind not in _MESSAGES:
        return None
    if isinstance(members, str):
        members = json.loads(members)
    message: NodeMessage = _MESSAGES[kind](**{name: members[name] for name in _MEMBERS[kind] & members.keys()})
    return message
