"""Summaries of stream messages for operators, who may not be allowed to read the messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = ["StreamMessage", "summarize"]

_MAX_KIND: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMessage:
    """A message on a stream."""

    stream: str
    number: int
    kind: str
    """The method of a notification or request, or `result`, `error`, `tool error`; `end` for an empty message."""
    request_id: RequestId | None = None
    progress: str = ""
    """The progress of a call: `3 of 10`."""
    payload: bytes = b""

    @property
    def bytes(self) -> int:
        """Return the size of the payload."""
        return len(self.payload)


def summarize(stream: str, number: int, payload: bytes) -> StreamMessage:
    """Summarize a message without its content; the caller must drop `payload` where it is not permitted."""
    try:
        value: Any = json.loads(payload) if payload else None
    except (ValueError, RecursionError):
        value = None
    body = value if isinstance(value, dict) else {}
    id = body.get("id")
    kind = _kind(body) if body else "end" if not payload else "unreadable"
    return StreamMessage(
        stream=stream,
        number=number,
        kind=kind,
        request_id=id if is_request_id(id) else None,
        progress=_progress(body.get("params")) if kind == "notifications/progress" else "",
        payload=payload,
    )


def _kind(body: Mapping[str, Any]) -> str:
    method, result = body.get("method"), body.get("result")
    if isinstance(method, str):
        return method[:_MAX_KIND]
    if "error" in body:
        return "error"
    return "tool error" if isinstance(result, Mapping) and result.get("isError") is True else "result"


def _progress(params: Any) -> str:
    done, total = (params.get("progress"), params.get("total")) if isinstance(params, Mapping) else (None, None)
    if not _is_number(done):
        return ""
    return f"{done:g} of {total:g}" if _is_number(total) else f"{done:g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
