"""JSON in and out: what is refused, what is kept exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.engine.codec import decode, encode
from mcp_transport.exceptions import ProtocolError

FITS = st.integers(-(2**63), 2**64 - 1)
VALUES = st.none() | st.booleans() | FITS | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(FITS)
def test_an_integer_of_64_bits_is_kept(number: int) -> None:
    assert decode(json.dumps([number]).encode()) == [number]


@given(
    st.integers(min_value=2**64, max_value=10**308 - 1) | st.integers(max_value=-(2**63) - 1, min_value=1 - 10**308)
)
def test_an_integer_beyond_64_bits_is_not_rounded(number: int) -> None:
    assert decode(json.dumps({"a": [0.5, number]}).encode()) == {"a": [0.5, number]}


@pytest.mark.parametrize("number", [10**309, -(10**309), 10**400, 10**4000])
def test_an_integer_of_more_than_308_digits_is_refused(number: int) -> None:
    with pytest.raises(ProtocolError, match="308 digits") as refused:
        decode(json.dumps({"id": 8, "method": "x", "params": {"a": [0.5, number]}}).encode())
    assert (refused.value.status, refused.value.code, refused.value.request_id) == (400, -32700, 8)


@pytest.mark.parametrize("rest", ["NaN", "Infinity", "1e999", '"\\ud800"', "[1,]", '"\t"', "01"])
def test_a_text_with_long_integers_is_read_as_strictly_as_any(rest: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode(f"[{10**21}, {rest}]".encode())
    assert refused.value.code == -32700


@pytest.mark.parametrize(
    "text",
    [
        '"18446744073709551616"',
        '"\\"18446744073709551616"',
        "0.1234567890123456789012345",
        "18446744073709551616.5",
        "18446744073709551616e1",
        "1e-0000000000000000000000001",
        "1.5E+0000000000000000000000001",
        "-9223372036854775808",
        "18446744073709551615",
    ],
)
def test_long_digits_that_are_no_such_integer_are_taken(text: str) -> None:
    assert decode(text.encode()) == json.loads(text)


@given(st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_what_is_written_is_read_back(value: Any) -> None:
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize("value", [2**64, -(2**70), [{"a": 2**100}]])
def test_what_the_fast_writer_refuses_is_written_all_the_same(value: Any) -> None:
    assert json.loads(encode(value)) == value
    assert b"\n" not in encode(value)


@pytest.mark.parametrize("number", [1, 10**30])
def test_half_characters_become_the_one_that_stands_for_what_cannot_be_read(number: int) -> None:
    written = encode({"text": "bad\udcff.txt", "whole": "\ud83d\ude00", "number": number})
    assert json.loads(written) == {"text": "bad\ufffd.txt", "whole": "\U0001f600", "number": number}


def test_what_is_no_number_is_never_written_beside_a_long_one() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        encode([10**30, float("nan")])
