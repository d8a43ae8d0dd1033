"""Parsing of responses and streams, valid or not."""

from __future__ import annotations

import pytest

from mcp_transport.doctor.observations import Response, parse_frames
from mcp_transport.doctor.report import printable

PRIMING = "id: g-0\ndata: \n\n"


def test_long_texts_are_cut() -> None:
    assert len(printable("x" * 10_000)) == 300


def test_events_are_found_wherever_they_are_cut() -> None:
    text = b": hi\r\n\r\nid: 1\r\ndata: {}\r\n\r\n" + PRIMING.encode()
    for interrupted in range(len(text)):
        frames = parse_frames([(1.0, text[:interrupted]), (2.0, text[interrupted:])])
        parsed = [(frame.is_comment, frame.id, frame.data) for frame in frames]
        assert parsed == [(True, "", ""), (False, "1", "{}"), (False, "g-0", "")]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"[" * 200_000, b"\xff"])
def test_bodies_that_are_no_message(body: bytes) -> None:
    assert Response(status=200, body=body).message == {}


def test_message_is_the_last_event_of_a_stream() -> None:
    head = {"content-type": "text/event-stream; charset=utf-8"}
    body = b'data: {"method": "x"}\n\ndata: {"id": 1, "result": {}}\n\n: bye\n\n'
    assert Response(status=200, headers=head, body=body).message == {"id": 1, "result": {}}
