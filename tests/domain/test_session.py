from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.domain.session import InFlightRequest, Session, session_key, short_id, validated_members

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)


@given(VISIBLE)
def test_a_key_is_26_characters_of_base32_whatever_the_id(session_id: str) -> None:
    key = session_key(session_id)
    assert re.fullmatch(r"[A-Z2-7]{26}", key)
    assert key == session_key(session_id)


@given(VISIBLE, VISIBLE)
def test_two_ids_have_two_keys(one: str, other: str) -> None:
    assert (session_key(one) == session_key(other)) == (one == other)


@given(st.from_regex(r"[A-Z2-7a-z]{8,26}", fullmatch=True))
def test_neither_the_key_nor_its_short_form_holds_the_id(session_id: str) -> None:
    key = session_key(session_id)
    for length in range(8, len(session_id) + 1):
        assert session_id[:length].upper() not in key.upper()
        assert session_id[:length].lower() not in short_id(key)


def test_the_key_is_that_of_the_design() -> None:
    # base32(sha256("abc")), truncated: must not change, since other nodes and releases look up the same record.
    assert session_key("abc") == "XJ4BNP4PAHH6UQKBIDPF3LRCEO"


def test_a_short_id_is_a_part_of_the_key_fit_for_a_log_line() -> None:
    key = session_key("abc")
    assert re.fullmatch(r"[a-z2-7]{10}", short_id(key))
    assert key.lower().startswith(short_id(key))


def test_a_new_record_is_anonymous_uninitialized_and_unused() -> None:
    session = Session(key="K", protocol_version="2025-11-25")
    assert session.principal == ""
    assert session.initialized is False
    assert (session.requests, session.errors) == (0, 0)
    assert session.client_info == session.capabilities == {}


def test_records_are_values() -> None:
    session = Session(key="K", protocol_version="2025-11-25")
    assert replace(session, requests=1) != session
    assert session == Session(key="K", protocol_version="2025-11-25")
    request = InFlightRequest(request_id=1, digest=b"d", node="n", stream="s")
    assert request.started == 0.0
    assert InFlightRequest(request_id="1", digest=b"d", node="n", stream="s") != request


def test_a_session_counts_as_its_principals_or_its_addresses() -> None:
    session = Session(key="K", protocol_version="2025-11-25", address="2001:db8:0:1::7")
    assert session.caller == "2001:db8:0:1::/64"
    assert replace(session, principal="django\n7").caller == "django\n7"


STORED = {"protocol_version": "2025-11-25", "created": 1.0, "newer": [1]}


def test_members_that_this_release_knows_are_read() -> None:
    assert validated_members(STORED) == {"protocol_version": "2025-11-25", "created": 1.0}


@pytest.mark.parametrize(
    ("member", "value"),
    [("principal", None), ("client_info", [7]), ("created", -1), ("ends", 1e300), ("protocol_version", "1.0")],
)
def test_members_that_no_release_has_written_are_refused(member: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"is NoneType|is list|out of range|not supported by this"):
        validated_members({**STORED, member: value})
