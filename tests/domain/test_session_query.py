"""Which sessions match a query."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import EVERYTHING, SessionQuery, State, client_of, search_terms, state_of

SESSION = Session(
    key="ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    protocol_version="2025-11-25",
    client_info={"name": "Claude", "version": "1.2"},
    user="Ann",
    address="192.0.2.7",
    node="n1",
)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ({}, True),
        ({"text": "an"}, True),
        ({"text": "ANN"}, True),
        ({"text": " ann "}, True),
        ({"text": "nn"}, True),
        ({"text": "aude 1."}, True),
        ({"text": "2.0.2"}, False),
        ({"text": "bcdef"}, False),
        ({"anonymous": True}, False),
        ({"keys": frozenset({"ABCDEFGHIJKLMNOPQRSTUVWXYZ"})}, True),
        ({"keys": frozenset()}, False),
        ({"text": "claude 1"}, True),
        ({"text": "192.0.2."}, True),
        ({"text": "abcdefghij"}, True),
        ({"text": "eve"}, False),
        ({"user": "Ann"}, True),
        ({"user": "ann"}, False),
        ({"client": "Claude 1.2"}, True),
        ({"client": "Claude"}, False),
        ({"protocol_version": "2025-11-25"}, True),
        ({"protocol_version": "2025-06-18"}, False),
        ({"node": "n1"}, True),
        ({"node": "n2"}, False),
        ({"user": "Ann", "node": "n1", "text": "cl"}, True),
        ({"user": "Ann", "node": "n2", "text": "cl"}, False),
    ],
    ids=str,
)
def test_query_means_sessions_that_fit_in_every_way(query: dict[str, Any], matches: bool) -> None:
    assert SessionQuery(**query).matches(SESSION, 0.0) == matches


def test_empty_query_asks_for_everything() -> None:
    assert not EVERYTHING
    assert not SessionQuery(user="")
    assert SessionQuery(node="n1")
    assert SessionQuery(keys=frozenset())


def test_a_session_without_a_user_is_anonymous() -> None:
    session = dataclasses.replace(SESSION, user="")
    assert SessionQuery(anonymous=True).matches(session, 0.0)
    assert SessionQuery(anonymous=True).values == {"user": ""}
    assert not SessionQuery(anonymous=True, client="x").matches(session, 0.0)


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ({}, ""),
        ({"name": "a"}, "a"),
        ({"version": "1"}, "1"),
        ({"name": 7, "version": None}, ""),
        ({"name": "a" * 200}, "a" * 100),
    ],
)
def test_client_is_named_in_one_line(info: dict[str, object], name: str) -> None:
    assert client_of(dataclasses.replace(SESSION, client_info=info)) == name


@given(st.text(), st.text(), st.text())
def test_each_word_finds_its_session(user: str, name: str, address: str) -> None:
    session = dataclasses.replace(SESSION, user=user, client_info={"name": name}, address=address)
    for term in search_terms(session):
        assert "\0" not in term
        assert SessionQuery(text=term).matches(session, 0.0)


@pytest.mark.parametrize(
    ("members", "state"),
    [
        ({"calls": 1, "initialized": True}, State.BUSY),
        ({}, State.OPENING),
        ({"initialized": True, "last_seen": 1.0}, State.ACTIVE),
        ({"initialized": True}, State.IDLE),
    ],
)
def test_a_session_is_found_by_what_it_is_at(members: dict[str, Any], state: State) -> None:
    session = dataclasses.replace(SESSION, **members)
    matches = [each for each in State if SessionQuery(state=each).matches(session, 60.0)]
    assert matches == [state] == [state_of(session, 60.0)]


@pytest.mark.parametrize(
    ("after", "before", "matches"), [(4.0, 0.0, True), (6.0, 0.0, False), (0.0, 4.0, False), (4.0, 5.0, True)]
)
def test_a_session_is_found_by_its_age(after: float, before: float, matches: bool) -> None:
    query = SessionQuery(created_after=after, created_before=before)
    assert query.matches(dataclasses.replace(SESSION, created=5.0), 9.0) is matches
