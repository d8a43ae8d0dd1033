"""Frames are parsed by a parser that follows the WHATWG text, independently of our writer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.protocol import sse

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=10,
)


def read(stream: bytes) -> list[dict[str, str]]:
    """Interpret an event stream (WHATWG HTML 9.2.6); a block without a data line dispatches nothing."""
    text = stream.decode("utf-8")
    blocks: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    # Only CR LF, LF and CR end a line; str.splitlines() would also cut at U+2028 and others.
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            if fields:
                blocks.append(fields)
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
    assert not fields, "the stream ends inside an event"
    return blocks


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@given(st.lists(st.tuples(JSON_VALUES, st.none() | st.from_regex(r"[0-9a-z]{1,32}-[0-9]{1,9}", fullmatch=True))))
def test_what_is_framed_is_read_back_event_by_event(events: list[tuple[Any, str | None]]) -> None:
    stream = b"".join(sse.event(compact(value), event_id) for value, event_id in events)
    parsed = read(stream)
    assert [json.loads(item["data"]) for item in parsed] == [value for value, _ in events]
    assert [item.get("id") for item in parsed] == [event_id for _, event_id in events]
    assert {item["event"] for item in parsed} <= {"message"}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (sse.event(b"{}"), b"event: message\ndata: {}\n\n"),
        (sse.event(b"{}", "g-7"), b"event: message\nid: g-7\ndata: {}\n\n"),
        (sse.priming_event("ab-0", 1500), b"id: ab-0\nretry: 1500\ndata: \n\n"),
        (sse.id_event("g-7-moved"), b"id: g-7-moved\ndata: \n\n"),
        (sse.retry(1500), b"retry: 1500\n\n"),
        (sse.COMMENT, b": keep-alive\n\n"),
    ],
)
def test_each_kind_of_frame(frame: bytes, expected: bytes) -> None:
    assert frame == expected


def test_a_priming_event_gives_an_id_and_a_delay_and_empty_data() -> None:
    assert read(sse.priming_event("ab-0", 1500)) == [{"id": "ab-0", "retry": "1500", "data": ""}]


def test_a_comment_is_no_event() -> None:
    assert read(sse.COMMENT + sse.event(b"1") + sse.COMMENT) == [{"event": "message", "data": "1"}]


def test_headers_keep_proxies_from_storing_collecting_and_compressing_events() -> None:
    headers = {name.lower(): value for name, value in sse.HEADERS}
    assert headers["content-type"].split(";")[0] == "text/event-stream"
    assert "no-cache" in headers["cache-control"]
    assert "no-transform" in headers["cache-control"]
    assert headers["x-accel-buffering"] == "no"
    assert headers["content-encoding"] == "identity"
