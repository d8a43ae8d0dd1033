from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.protocol.headers import Accepts, Headers

JSON, SSE = "application/json", "text/event-stream"


def accepts(*lines: str) -> tuple[bool, bool]:
    parsed = Headers([("Accept", line) for line in lines]).accepts
    return parsed.json, parsed.sse


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{JSON}, {SSE}", (True, True)),
        (f"{SSE},{JSON}", (True, True)),
        (JSON, (True, False)),
        (SSE, (False, True)),
        ("", (False, False)),
        ("*/*", (True, True)),
        ("application/*", (True, False)),
        ("text/*", (False, True)),
        ("application/*, text/*", (True, True)),
        ("text/html", (False, False)),
        ("application/json-seq", (False, False)),
        ("application/jsonp, text/event-streams", (False, False)),
        ("Application/JSON, TEXT/Event-Stream", (True, True)),
        (f"{JSON};charset=utf-8, {SSE};charset=utf-8", (True, True)),
        (",,, ,", (False, False)),
        (f", {JSON} ,,{SSE},", (True, True)),
    ],
)
def test_accept_names_what_the_client_takes(line: str, expected: tuple[bool, bool]) -> None:
    assert accepts(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{JSON};q=0, {SSE}", (False, True)),
        (f"{JSON}, {SSE};q=0", (True, False)),
        (f"{JSON};q=0.0, {SSE};q=0.000", (False, False)),
        (f"{JSON};q=0.001, {SSE};q=1.0", (True, True)),
        (f"{JSON};Q=0, {SSE};Q=1", (False, True)),
        (f"{JSON} ; q=0 , {SSE} ; q=0.5", (False, True)),
        (f"{JSON};charset=utf-8;q=0, {SSE}", (False, True)),
        (f"{JSON};q=0, */*", (False, True)),
        (f"*/*, {SSE};q=0", (True, False)),
        ("*/*;q=0", (False, False)),
        (f"*/*;q=0, {JSON}", (True, False)),
        (f"text/*;q=0, {SSE}, {JSON}", (True, True)),
        ("*/*, application/*;q=0", (False, True)),
        ("*/*, text/*;q=0", (True, False)),
        (f"application/*, {JSON};q=0", (False, False)),
    ],
)
def test_a_quality_of_zero_refuses_and_the_narrower_range_decides(line: str, expected: tuple[bool, bool]) -> None:
    assert accepts(line) == expected


@pytest.mark.parametrize("quality", ["", "x", "0x1", "-1", "nan", "0,5"])
def test_a_quality_that_is_no_number_counts_as_refusal(quality: str) -> None:
    assert accepts(f"{JSON};q={quality}, {SSE}") == (False, True)


def test_several_accept_lines_are_one_list() -> None:
    assert accepts(JSON, SSE) == (True, True)
    assert accepts("text/html", f"{JSON};q=0", "*/*") == (False, True)


def test_without_an_accept_header_nothing_is_taken() -> None:
    assert Headers([]).accepts == Accepts(json=False, sse=False)


@pytest.mark.parametrize("raw", ["value", " value", "value ", "\tvalue\t", " \t value \t "])
def test_optional_white_space_around_a_value_is_no_part_of_it(raw: str) -> None:
    assert Headers([("X-Name", raw)])["x-name"] == "value"


@pytest.mark.parametrize("raw", ["\x0bvalue", "value\xa0", "value\r"])
def test_other_blanks_stay_for_the_rules_to_see(raw: str) -> None:
    assert Headers([("X-Name", raw)])["x-name"] == raw


@pytest.mark.parametrize("name", ["mcp-session-id", "Mcp-Session-Id", "MCP-SESSION-ID"])
def test_names_are_found_in_any_case(name: str) -> None:
    headers = Headers([("MCP-Session-Id", "abc")])
    assert headers[name] == "abc"
    assert name in headers
    assert headers.get(name) == "abc"
    assert headers.lines(name) == ("abc",)


def test_a_doubled_name_reads_as_its_first_line_and_shows_all_of_them() -> None:
    headers = Headers([("A", "1"), ("b", "x"), ("a", "2")])
    assert headers["a"] == "1"
    assert headers.lines("A") == ("1", "2")
    assert sorted(headers.pairs()) == [("a", "1"), ("a", "2"), ("b", "x")]
    assert list(headers) == ["a", "b"]
    assert len(headers) == 2


def test_an_absent_name_is_absent() -> None:
    headers = Headers([])
    assert headers.get("origin") is None
    assert headers.lines("origin") == ()
    assert "origin" not in headers
    with pytest.raises(KeyError):
        headers["origin"]


def test_asgi_bytes_are_latin_1() -> None:
    headers = Headers.from_asgi([(b"X-Name", b" caf\xe9 "), (b"x-name", b"\xff")])
    assert headers.lines("x-name") == ("caf\xe9", "\xff")


def test_a_name_is_found_whatever_its_case() -> None:
    headers = Headers([("TraceParent", "x"), ("Accept", "*/*")])
    assert "traceparent" in headers and "Traceparent" in headers and "accept" in headers
    unlike: Any = 7
    assert "cookie" not in headers and unlike not in headers
    assert "accept" in Headers.from_asgi([(b"Accept", b"*/*")])


def test_headers_are_written_as_an_asgi_scope_has_them() -> None:
    read = [(b"x-name", b"caf\xe9")]
    for headers in (Headers([("X-Name", "caf\xe9")]), Headers.from_asgi(read)):
        assert [*headers.raw] == read
        assert headers.raw is headers.raw, "once"
