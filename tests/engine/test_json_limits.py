"""JSON in and out: what is refused, undecoded or decoded, what is kept exactly, and what is told before decoding."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.engine.codec import decode, encode, has_more_values, has_too_large_integer, request_id_of
from mcp_transport.exceptions import ProtocolError

TEXTS = st.text(st.sampled_from('",[{}]\\: aé\n0')) | st.text()
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=30
)
MEGABYTES = 4 * 1024 * 1024
MOST = 100_000

TOO_MANY = {
    "objects": b"[" + b"{}," * (MEGABYTES // 3) + b"1]",
    "arrays": b"[" + b"[]," * (MEGABYTES // 3) + b"1]",
    "numbers": b"[" + b"1," * (MEGABYTES // 2) + b"1]",
    "strings": b"[" + b'"",' * (MEGABYTES // 3) + b"1]",
    "strings of a backslash": b"[" + b'"\\\\",' * (MEGABYTES // 5) + b"1]",
    "strings of a quote": b"[" + b'"\\"",' * (MEGABYTES // 5) + b"1]",
    "equal keys": b'{"a":1' + b',"a":1' * (MEGABYTES // 6) + b"}",
    "opening brackets": b"[" * MEGABYTES,
    "opening braces": b'{"a":' * (MEGABYTES // 5),
    "nulls": b"[" + b"null," * (MEGABYTES // 5) + b"1]",
}
FEW = {
    "a text": b'"' + b"a" * MEGABYTES + b'"',
    "a table in a text": b'["' + b"12.5," * (MEGABYTES // 5) + b'"]',
    "JSON in a text": b'["' + b'{\\"a\\":[1,2]},' * (MEGABYTES // 15) + b'"]',
    "escaped quotes and commas": b'["' + b'\\",' * (MEGABYTES // 3) + b'"]',
    "escaped backslashes and commas": b'["' + b"\\\\," * (MEGABYTES // 3) + b'"]',
    "escaped characters": b'["' + b"\\u002c" * (MEGABYTES // 6) + b'"]',
    "many short texts": b"[" + b",".join([b'"' + b"," * 38 + b'"'] * (MOST - 1)) + b"]",
}
ODD = {
    "quotes alone": b'"' * MEGABYTES,
    "commas in an endless text": b'["' + b"," * MEGABYTES,
    "texts without commas": b'{"a":"b" ' * (MEGABYTES // 9) + b"," * MOST * 2,
    "a number": b"1" * MEGABYTES,
    "a negative number": b"-" + b"1" * MEGABYTES,
    "a number with a fraction": b"1" * MEGABYTES + b".5",
    "a fraction": b"1." + b"1" * MEGABYTES,
    "an exponent": b"1e" + b"0" * MEGABYTES,
    "a long integer behind escapes": b'["' + b'\\"' * (MEGABYTES // 2) + b'",' + b"1" * 30 + b"]",
    "a long number behind texts": b"[" + b'"a",' * (MOST - 10) + b"1" * (MEGABYTES // 2) + b".5]",
    "long numbers": b"[" + b",".join([b"12345678901234567890.0"] * MOST) + b"]",
    "a byte order mark": b"\xef\xbb\xbf" + b"[" * MEGABYTES,
}


@contextmanager
def bounded() -> Iterator[None]:
    """Fail where something is quadratic: it then takes minutes of processor time, and a tenth of a second else."""
    began = time.thread_time()
    try:
        yield
    finally:
        assert time.thread_time() - began < 10, "seconds of processor time"


def separators(text: str) -> int:
    """Count what stands outside of strings, one character after the other."""
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.S)
    return sum(map(outside.count, ",[{"))


@given(VALUES, st.booleans())
def test_values_are_counted_as_they_are_decoded(value: Any, ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii)
    body, number = text.encode(errors="replace"), separators(text)
    assert not has_more_values(body, number)
    assert number == 0 or has_more_values(body, number - 1)


@pytest.mark.parametrize("name", TOO_MANY)
def test_too_many_values_are_refused_undecoded(name: str) -> None:
    with pytest.raises(ProtocolError) as refused, bounded():
        decode(TOO_MANY[name], MOST)
    assert (refused.value.status, refused.value.code) == (413, -32600)


@pytest.mark.parametrize("name", FEW)
def test_large_texts_are_few_values(name: str) -> None:
    with bounded():
        value = decode(FEW[name], MOST)
    assert value == json.loads(FEW[name])


@pytest.mark.parametrize("name", ODD)
def test_no_text_of_four_megabytes_takes_long(name: str) -> None:
    with suppress(ProtocolError), bounded():
        decode(ODD[name], MOST)


def test_long_digits_are_found_behind_many_escapes() -> None:
    assert has_too_large_integer(b'["' + b'\\"1' * 1000 + b'\\\\",' + b"9" * 20 + b"]")
    assert not has_too_large_integer(b'["' + b'\\"' * 1000 + b"9" * 20 + b'"]')
    assert not has_too_large_integer(b'["\\\\", "' + b"9" * 30 + b'"]')


PARAMS = '{"name":"x","arguments":{"id":7,"method":"no"}}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}', 1),
        ('{"method":"tools/call","params":%s,"jsonrpc":"2.0","id":2}', 2),
        (' { "jsonrpc" : "2.0" , "method" : "tools/call" , "params" : %s , "id" : "three" } ', "three"),
        ('{"id":-4,"params":%s,"method":"tools/call","jsonrpc":"2.0"}', -4),
        ('{"jsonrpc":"2.0","params":%s,"method":"tools/call"}', None),
        ('{"jsonrpc":"2.0","id":1,"params":%s}', None),
        ('{"jsonrpc":"2.0","id":1,"result":%s}', None),
        ('{"method":"tools/call","params":{"a":%s,"id":5}}', None),
        ('{"method":"tools/call","params":{"a,\\"id\\":5":%s}}', None),
        ('[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}]', None),
        ('{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":%s}', None),
        ('{"jsonrpc":"2.0","id":null,"method":"tools/call","params":%s}', None),
        ('{"jsonrpc":"2.0","id":18446744073709551616,"method":"tools/call","params":%s}', 2**64),
        ('{"jsonrpc":"2.0","id":"\\ud800","method":"tools/call","params":%s}', None),
        ('{"jsonrpc":"2.0","id":"a\tb","method":"tools/call","params":%s}', None),  # a tab as it is, which is no JSON
        ("%s", None),
    ],
)
@pytest.mark.parametrize("params", [PARAMS, '{"a":"' + "x" * 5000 + '"}', "{}"])
def test_an_id_is_read_where_clients_write_it_and_nowhere_else(text: str, expected: Any, params: str) -> None:
    found = request_id_of((text % params).encode())
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("digits", [300, MEGABYTES])
def test_an_id_of_very_many_digits_is_no_id(digits: int) -> None:
    assert request_id_of(b'{"id":' + b"1" * digits + b',"method":"x","params":{}}') is None
    assert request_id_of(b'{"method":"x","params":{},"id":' + b"1" * digits + b"}") is None


def test_a_refusal_of_a_body_that_is_not_decoded_has_the_requests_id() -> None:
    for body in (
        b'{"jsonrpc":"2.0","id":8,"method":"x","params":{"a":' + b"[" * 3000 + b"]" * 3000 + b"}}",
        b'{"jsonrpc":"2.0","id":8,"method":"x","params":{"a":[' + b"1," * MOST + b"1]}}",
        b'{"jsonrpc":"2.0","id":8,"method":"x","params":{"a":' + b"9" * 400 + b"}}",
    ):
        with pytest.raises(ProtocolError) as refused:
            decode(body, MOST)
        assert refused.value.request_id == 8


# -- numbers and characters -----------------------------------------------------------------------------


FITS = st.integers(-(2**63), 2**64 - 1)
SCALARS = st.none() | st.booleans() | FITS | st.floats(allow_nan=False, allow_infinity=False) | st.text()


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


@pytest.mark.parametrize("number", [1, 10**21], ids=["short", "long"])
@pytest.mark.parametrize("rest", ["NaN", "Infinity", "1e999", '"\\ud800"', "[1,]", '"\t"', "01", "1]["])
def test_a_text_is_read_strictly_whatever_its_integers_are(number: int, rest: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode(f"[{number}, {rest}]".encode())
    assert refused.value.code == -32700


@pytest.mark.parametrize("body", [b"", b" \n ", b"{}{}", b"[1, -" + b"1" * 310 + b"]"])
def test_what_is_no_json_text_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode(body)
    assert (refused.value.status, refused.value.code) == (400, -32700)


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


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
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
