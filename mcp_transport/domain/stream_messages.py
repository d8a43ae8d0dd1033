"""Summaries of stream messages for operators, who may not be allowed to read the messages."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = ["MARK_SECONDS", "MAX_MARKS", "Marks", "StreamMessage", "decode_marks", "mark_time", "summarize", "time_of"]

_MAX_KIND: Final = 100
_RESPONSES: Final = ("result", "error", "tool error")

MARK_SECONDS: Final = 1.0
"""How precisely the times of messages are known."""
MAX_MARKS: Final = 16
"""How many times a stream keeps; of older messages, none is known."""

_MAX_MARKED: Final = 253_402_300_799_000  # the last millisecond of `datetime`

Marks = Sequence[tuple[int, float]]
"""When messages of a stream were stored: the number of a message, and the time of it and those that follow."""


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
    when: float = 0.0
    """When it was stored, within `MARK_SECONDS`; 0 if that is unknown."""

    @property
    def is_server_request(self) -> bool:
        """Return whether it asks the client for something."""
        return self.request_id is not None and self.kind not in _RESPONSES

    @property
    def bytes(self) -> int:
        """Return the size of the payload."""
        return len(self.payload)


def summarize(stream: str, number: int, payload: bytes, marks: Marks = ()) -> StreamMessage:
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
        when=time_of(marks, number),
    )


def mark_time(marks: list[tuple[int, float]], number: int, now: float) -> None:
    """Add when message `number` was stored to the marks of its stream, unless the newest one says so already."""
    if not marks or not 0 <= now - marks[-1][1] < MARK_SECONDS:
        marks.append((number, now))
        del marks[:-MAX_MARKS]


def time_of(marks: Marks, number: int) -> float:
    """Return when a message was stored; 0 if that is unknown."""
    at = bisect_right(marks, number, key=lambda mark: mark[0])
    return marks[at - 1][1] if at else 0.0


def decode_marks(stored: Any) -> tuple[tuple[int, float], ...]:
    """Read marks from a flat list of numbers and milliseconds; return none if it is anything else."""
    if not isinstance(stored, list) or len(stored) > 4 * MAX_MARKS or not all(type(item) is int for item in stored):
        return ()
    if not all(0 <= item < _MAX_MARKED for item in stored):
        return ()
    return tuple((number, time / 1000) for number, time in zip(stored[::2], stored[1::2], strict=False))


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
