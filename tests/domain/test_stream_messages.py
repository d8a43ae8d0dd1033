"""Summaries of messages for operators who may not read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_transport.domain.stream_messages import StreamMessage, summarize


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
