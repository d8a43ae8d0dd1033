from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.cursor import GET_STREAM, Cursor

STREAMS = st.text(string.digits + string.ascii_lowercase, min_size=1, max_size=32)
NUMBERS = st.integers(min_value=0, max_value=10**15 - 1)
LOOKS_RIGHT = re.compile(r"[0-9a-z]{1,32}-(0|[1-9][0-9]*)")


@given(st.builds(Cursor, STREAMS, NUMBERS))
@example(Cursor(GET_STREAM, 0))
@example(Cursor("0123456789abcdef", 10**15 - 1))
def test_an_event_id_is_read_back_as_what_was_written(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@given(st.text() | st.from_regex(r"[0-9a-z]{0,40}-?[0-9+_ -]{0,20}"))
def test_anything_else_is_refused_and_nothing_is_read_in_two_ways(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except ProtocolError as error:
        assert (error.status, error.code) == (400, -32600)
    else:
        assert LOOKS_RIGHT.fullmatch(text)
        assert str(cursor) == text


NO_EVENT_IDS = """
- g g- -1 g-01 g--1 g-+1 g-1.0 g-1e3 g-1_0 g-1-2 G-1 g_1 g-1000000000000000 ../g-1 {g}-1
"""


@pytest.mark.parametrize(
    "text",
    [
        *NO_EVENT_IDS.split(),
        "",
        "g-1 ",
        " g-1",
        "g-1\n",
        "g-\u0663",
        "\u00e9-1",
        "g-" + "9" * 5000,
        "a" * 33 + "-1",
        "g-1\x00",
    ],
)
def test_garbage_is_the_peers_fault(text: str) -> None:
    with pytest.raises(ProtocolError, match="Last-Event-ID") as caught:
        Cursor.parse(text)
    assert (caught.value.status, caught.value.code) == (400, -32600)


def test_the_message_does_not_echo_what_came() -> None:
    with pytest.raises(ProtocolError) as caught:
        Cursor.parse("<script>")
    assert "script" not in caught.value.message
