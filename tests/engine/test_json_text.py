"""What is told of JSON before it is decoded agrees with what decoding tells."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.engine.codec import decode
from mcp_transport.engine.json_text import has_more_values, has_too_large_integer, request_id_of
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


@pytest.mark.parametrize("body", TOO_MANY.values(), ids=TOO_MANY)
def test_too_many_values_are_refused_undecoded(body: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode(body, MOST)
    assert (refused.value.status, refused.value.code) == (413, -32600)


@pytest.mark.parametrize("body", FEW.values(), ids=FEW)
def test_large_texts_are_few_values(body: bytes) -> None:
    assert decode(body, MOST) == json.loads(body)


@pytest.mark.parametrize("body", {**TOO_MANY, **FEW, **ODD}.values(), ids={**TOO_MANY, **FEW, **ODD})
def test_no_text_of_four_megabytes_takes_long(body: bytes) -> None:
    began = time.thread_time()
    with suppress(ProtocolError):
        decode(body, MOST)
    assert time.thread_time() - began < 0.5, "seconds; it takes a tenth of one"


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
