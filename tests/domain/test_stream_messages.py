"""Summaries of messages for operators who may not read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_transport.domain.stream_messages import (
    MARK_SECONDS,
    MAX_MARKS,
    StreamMessage,
    decode_marks,
    mark_time,
    summarize,
    time_of,
)


def message_of(value: Any) -> StreamMessage:
    return summarize("aa", 3, json.dumps(value).encode())


@pytest.mark.parametrize(
    ("value", "kind", "request_id"),
    [
        ({"method": "notifications/message", "params": {"data": "x"}}, "notifications/message", None),
        ({"id": "q-1", "method": "elicitation/create", "params": {}}, "elicitation/create", "q-1"),
        ({"id": 7, "result": {"content": []}}, "result", 7),
        ({"id": 7, "result": {"isError": True}}, "tool error", 7),
        ({"id": 7, "result": {"isError": "yes"}}, "result", 7),
        ({"id": 7, "result": None}, "result", 7),
        ({"id": 7, "error": {"code": -32603}}, "error", 7),
        ({"id": None, "error": {}}, "error", None),
        ({"id": True, "result": {}}, "result", None),
        ({"method": "m" * 1000}, "m" * 100, None),
        ([1], "unreadable", None),
        ({}, "unreadable", None),
        ("text", "unreadable", None),
    ],
)
def test_kind_and_request(value: Any, kind: str, request_id: Any) -> None:
    message = message_of(value)
    assert (message.kind, message.request_id, message.progress) == (kind, request_id, "")
    assert (message.stream, message.number, message.bytes) == ("aa", 3, len(message.payload))


@pytest.mark.parametrize(("payload", "kind"), [(b"", "end"), (b"{", "unreadable"), (b"\xff", "unreadable")])
def test_what_is_no_json(payload: bytes, kind: str) -> None:
    assert summarize("g", 1, payload).kind == kind


def test_what_is_too_deep() -> None:
    assert summarize("g", 1, b"[" * 100_000).kind == "unreadable"


@pytest.mark.parametrize(
    ("params", "progress"),
    [
        ({"progress": 3, "total": 10, "message": "secret"}, "3 of 10"),
        ({"progress": 0.5}, "0.5"),
        ({"progress": 3, "total": "<b>"}, "3"),
        ({"progress": "<b>", "total": 10}, ""),
        ({"progress": True}, ""),
        ({}, ""),
        (None, ""),
        ([], ""),
    ],
)
def test_progress_is_told_in_numbers_alone(params: Any, progress: str) -> None:
    assert message_of({"method": "notifications/progress", "params": params}).progress == progress


def test_times_are_marked_once_a_second_and_the_oldest_are_forgotten() -> None:
    marks: list[tuple[int, float]] = []
    for number in range(1, 100):
        mark_time(marks, number, number * MARK_SECONDS / 4)
    assert len(marks) == MAX_MARKS
    assert [time_of(marks, number) for number in (1, 98, 99)] == [0.0, 24.25, 24.25]
    mark_time(marks, 100, 1.0)
    assert time_of(marks, 100) == 1.0, "a clock that was set back"


@pytest.mark.parametrize("stored", [None, {}, "x", [1.5, 2], [1, "2"], [True, 1], [1, -2], [1, 10**18], [1] * 1000])
def test_what_no_release_has_stored_marks_nothing(stored: Any) -> None:
    assert decode_marks(stored) == ()


def test_marks_are_decoded() -> None:
    assert decode_marks([1, 2500, 7, 9000]) == ((1, 2.5), (7, 9.0))


@pytest.mark.parametrize(
    ("value", "asks"),
    [
        ({"id": "q", "method": "elicitation/create"}, True),
        ({"id": 7, "result": {}}, False),
        ({"id": 7, "error": {}}, False),
        ({"method": "notifications/progress"}, False),
    ],
)
def test_request_to_the_client_is_told_from_answers(value: Any, asks: bool) -> None:
    assert message_of(value).is_server_request is asks
