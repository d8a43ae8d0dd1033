"""The events of each front door as values, and the responses that it takes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mcp_transport.adapters.aws_events import encoded_size, is_too_large, read, response
from mcp_transport.protocol.http import Reply
from tests.support.aws_lambda import events
from tests.support.aws_lambda.events import CLIENT, DOORS, answer
from tests.support.http.request import Request

LINES = (("Host", "mcp.example"), ("X-Color", "red"), ("Cookie", "a=1; b=2"), ("X-Color", "blue"))
REQUEST = Request(path="/mcp?region=eu", headers=LINES, body='{"word":"caf\u00e9"}'.encode())

by_door = pytest.mark.parametrize("door", DOORS)


def double(value: Any, **changes: Any) -> Any:
    return {**value, **changes}


@by_door
def test_event_is_the_request_that_was_sent(door: str) -> None:
    incoming = read(DOORS[door](REQUEST))
    request = incoming.request
    assert (request.method, request.path, request.peer, request.scheme) == ("POST", "/mcp", CLIENT, "https")
    assert (request.streaming, request.source, request.user) == (False, None, None)
    assert request.http_version == ("" if door.startswith("alb") else "1.1")
    assert request.headers["host"] == "mcp.example"
    assert request.headers["cookie"] == "a=1; b=2"
    colors = {"alb": ("blue",), "http": ("red,blue",), "url": ("red,blue",)}
    assert request.headers.lines("x-color") == colors.get(door, ("red", "blue"))
    assert incoming.body == REQUEST.body
    assert request.gateway is not None


@by_door
def test_event_without_headers_and_body_is_a_request(door: str) -> None:
    """The console of API Gateway sends such ones."""
    event = DOORS[door](Request(method="GET", path="/healthz"))
    for name in ("headers", "multiValueHeaders"):
        event = double(event, **{name: None}) if name in event else event
    incoming = read(double(event, body=None))
    assert (incoming.request.method, incoming.request.path, incoming.body) == ("GET", "/healthz", b"")
    assert len(incoming.request.headers) == 0


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\x00", "\u2028\U0001f375".encode()])
def test_body_in_base64_is_decoded(body: bytes) -> None:
    event = events.http(Request())
    assert read(double(event, body=base64.b64encode(body).decode(), isBase64Encoded=True)).body == body
    with pytest.raises(ValueError, match=r"base64|padding"):
        read(double(event, body="no base64!", isBase64Encoded=True))


def test_text_that_is_no_latin_1_keeps_its_bytes() -> None:
    incoming = read(events.http(Request(headers=(("X-Name", "\u65e5\u672c"),))))
    assert incoming.request.headers["x-name"].encode("latin-1").decode() == "\u65e5\u672c"
    assert incoming.request.headers.raw
    assert read(double(events.http(Request()), body="\ud800")).body


@pytest.mark.parametrize(
    ("event", "prefix", "path", "removed"),
    [
        (events.rest(Request(path="/mcp")), "", "/mcp", "/prod"),
        (events.rest(Request(path="/v1/mcp")), "/v1", "/mcp", "/prod/v1"),
        (events.rest(Request(path="/prod/mcp")), "", "/prod/mcp", "/prod"),
        (events.http(Request(path="/mcp"), "dev"), "", "/mcp", "/dev"),
        (events.http(Request(path="/v1/mcp"), "dev"), "v1/", "/mcp", "/dev/v1"),
        (events.http(Request(path="/mcp")), "/v1", "/mcp", ""),
        (events.http(Request(path="/"), "dev"), "", "/", "/dev"),
        (double(events.http(Request(path="/"), "dev"), rawPath="/dev"), "", "/", "/dev"),
        (double(events.http(Request(path="/"), "dev"), rawPath="/device/mcp"), "", "/device/mcp", ""),
        (events.url(Request(path="/mcp")), "", "/mcp", ""),
        (events.alb(Request(path="/tools/mcp")), "/tools", "/mcp", "/tools"),
        (events.alb(Request(path="/toolsmcp")), "/tools", "/toolsmcp", ""),
    ],
)
def test_stage_and_prefix_are_no_part_of_the_path(event: Any, prefix: str, path: str, removed: str) -> None:
    incoming = read(event, prefix)
    assert (incoming.request.path, incoming.prefix) == (path, removed)


@pytest.mark.parametrize("door", ["alb", "alb-lists"])
def test_load_balancer_names_its_own_peer_last(door: str) -> None:
    """What a client has written into X-Forwarded-For stands before it."""
    forged = Request(headers=(("X-Forwarded-For", "10.0.0.1, 127.0.0.1"),))
    assert read(DOORS[door](forged)).request.peer == CLIENT


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"source": "aws.events"},
        {"Records": []},
        {"httpMethod": "GET"},
        {"requestContext": {"http": {}}},
    ],
)
def test_other_events_are_refused(event: Any) -> None:
    with pytest.raises(ValueError, match="the event is none of"):
        read(event)


@by_door
def test_response_has_the_form_that_the_front_door_takes(door: str) -> None:
    headers = (
        ("Content-Type", "application/json"),
        ("Set-Cookie", "a=1"),
        ("Vary", "Origin"),
        ("Set-Cookie", "b=2"),
        ("Vary", "Accept"),
        ("Content-Length", "2"),
        ("Connection", "close"),
    )
    incoming = read(DOORS[door](REQUEST))
    status, lines, body = answer(door, response(Reply(status=202, headers=headers, body=b"{}"), incoming.door))
    found = [(name.lower(), value) for name, value in lines]
    assert (status, body) == (202, b"{}")
    assert sorted(value for name, value in found if name == "set-cookie") == ["a=1", "b=2"]
    assert ", ".join(value for name, value in found if name == "vary") == "Origin, Accept"
    assert {name for name, _ in found} == {"content-type", "set-cookie", "vary"}


@by_door
def test_response_that_is_no_text_is_encoded(door: str) -> None:
    incoming = read(DOORS[door](REQUEST))
    made = response(Reply(status=200, body=b"\xff\x00"), incoming.door)
    assert made["isBase64Encoded"] and answer(door, made)[2] == b"\xff\x00"


@by_door
def test_limit_of_the_size_counts_the_escapes(door: str) -> None:
    limits = dict.fromkeys(DOORS, 6 * 1024 * 1024) | dict.fromkeys(("alb", "alb-lists"), 1024 * 1024)
    incoming = read(DOORS[door](REQUEST))
    assert incoming.door.max_bytes == limits[door]
    fits = Reply(status=200, body=b"x" * (limits[door] - 20_000))
    escaped = Reply(status=200, body=b'"' * (limits[door] * 6 // 10))
    assert [is_too_large(reply, incoming.door) for reply in (fits, escaped)] == [False, True]
    text = '{"a":"\\u0000\\n\\\\ \u65e5\u672c \\""}'
    assert encoded_size(text.encode()) == len(json.dumps(text, ensure_ascii=False).encode()) - 2


def test_front_doors_of_api_gateway_have_a_limit_of_time() -> None:
    seconds = {door: read(make(REQUEST)).door.seconds for door, make in DOORS.items()}
    assert seconds == {"rest": 29, "http-1": 30, "http": 30, "url": None, "alb": None, "alb-lists": None}
