"""Idempotency keys: their syntax, and the stream that belongs to a key."""

from __future__ import annotations

import secrets

import pytest

from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.cursor import GET_STREAM, Cursor
from mcp_transport.protocol.idempotency import (
    CAPABILITY,
    idempotency_capability,
    is_keyed,
    key_in_use,
    key_reused,
    parse_key,
    stream_name,
)

UUID = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'"{UUID}"', UUID),
        (UUID, UUID),
        ("1", "1"),
        ('"x"', "x"),
        (r'"a\"b\\c"', r'a"b\c'),
        (r'a"b\c', r'a"b\c'),
        ("k" * 128, "k" * 128),
        (f'"{"k" * 128}"', "k" * 128),
        ('"' + r"\\" * 128 + '"', "\\" * 128),
        ("".join(map(chr, [0x21, *range(0x23, 0x7F)])), "".join(map(chr, [0x21, *range(0x23, 0x7F)]))),
    ],
)
def test_a_key_stands_in_quotes_or_without(text: str, key: str) -> None:
    assert parse_key(text) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        '""',
        '"',
        '"open',
        'open"inside" and more',
        '"x";a=1',
        '"x", "y"',
        "two words",
        '"two words"',
        r'"\x"',
        '"\\"',
        "k" * 129,
        f'"{"k" * 129}"',
        "caf\xe9",
        '"caf\xe9"',
        "tab\there",
        "line\n",
        '"line"\n',
        "\x7f",
    ],
)
def test_anything_else_is_400(text: str) -> None:
    with pytest.raises(ProtocolError, match="Idempotency-Key must be 1 to 128 visible ASCII characters") as caught:
        parse_key(text)
    assert (caught.value.status, caught.value.code) == (400, -32600)


def test_a_key_has_one_stream_and_another_key_another() -> None:
    streams = [stream_name(key) for key in (UUID, UUID, UUID.upper(), "g", "k")]
    assert len(set(streams)) == 4
    assert streams[0] == streams[1]


def test_the_stream_of_a_key_has_event_ids_and_cannot_be_taken_for_another() -> None:
    stream = stream_name("\x7f" * 128)
    assert Cursor.parse(str(Cursor(stream, 7))) == Cursor(stream, 7)
    assert is_keyed(stream)
    assert not any(map(is_keyed, (GET_STREAM, "", secrets.token_hex(8))))


def test_refusals_say_what_a_client_is_to_do() -> None:
    reused, in_use = key_reused(), key_in_use()
    assert (reused.status, reused.code, reused.data) == (422, -32600, {"idempotencyKey": "reused"})
    assert (in_use.status, in_use.code, in_use.data) == (409, -32600, {"idempotencyKey": "running"})
    assert in_use.headers == (("Retry-After", "1"),)


@pytest.mark.parametrize(
    ("policy", "declared"),
    [
        (Policy(), {CAPABILITY: {"keepSeconds": Policy().stream_keep}}),
        (Policy(stream_keep=0), {}),
        (Policy(versions=("2026-07-28",)), {}),
    ],
    ids=["by default", "streams are not kept", "no sessions"],
)
def test_a_server_declares_that_it_keeps_answers(policy: Policy, declared: dict[str, dict[str, float]]) -> None:
    assert idempotency_capability(policy.versions, policy.stream_keep) == declared
