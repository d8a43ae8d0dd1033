"""What the engine reports: one line and one count, and nothing that would let a reader into a session."""

from __future__ import annotations

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_transport.domain.session import session_key, short_id
from mcp_transport.engine.observer import _LOG_LINES, ClusterEvent, Observer

ID = "an-id-that-a-client-sends"
KEY = session_key(ID)
NAMES = """
taken_over superseded fenced abandoned rerun given_up expired lost refilled rehydrated node_lost timed_out drained
circuit_opened circuit_closed rehomed rehoming_yielded home_unreachable home_remote
"""


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mcp_transport")


def test_each_event_is_one_line_and_one_count(caplog: pytest.LogCaptureFixture) -> None:
    for event in ClusterEvent:
        caplog.clear()
        observer = Observer()
        observer.report(event, KEY, stream="s1", node="n2")
        level, text = _LOG_LINES[event]
        line = f"{event}: {text} session={short_id(KEY)} stream=s1 node=n2"
        assert caplog.record_tuples == [("mcp_transport.engine.observer", level, line)]
        assert observer.counts == {**dict.fromkeys(ClusterEvent, 0), event: 1}, "observers count for themselves"


def test_names_are_the_ones_that_are_promised_and_counted_from_the_beginning() -> None:
    assert list(Observer().counts) == NAMES.split() == [*ClusterEvent] == [*_LOG_LINES]
    assert set(Observer().counts.values()) == {0}


def test_what_costs_a_client_something_is_a_warning() -> None:
    warnings = {event for event, (level, _) in _LOG_LINES.items() if level == logging.WARNING}
    ends = {"fenced", "abandoned", "rerun", "expired", "lost", "node_lost", "timed_out", "circuit_opened"}
    assert warnings == {*ends, "rehomed", "rehoming_yielded"}
    assert {event for event, (level, _) in _LOG_LINES.items() if level == logging.DEBUG} == {"home_remote"}
    assert {level for level, _ in _LOG_LINES.values()} == {
        logging.DEBUG,
        logging.INFO,
        logging.WARNING,
        logging.ERROR,
    }


def test_neither_the_key_nor_the_id_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Observer().report(ClusterEvent.REHYDRATED, KEY)
    assert KEY not in caplog.text and KEY.lower() not in caplog.text and ID not in caplog.text
    assert short_id(KEY) in caplog.text


def test_what_belongs_to_no_session_names_none(caplog: pytest.LogCaptureFixture) -> None:
    Observer().report(ClusterEvent.DRAINED, seconds=2.5, calls=0)
    assert caplog.messages == ["drained: a node accepts no new clients seconds=2.5 calls=0"]


def test_it_is_counted_whatever_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "mcp_transport")
    observer = Observer()
    observer.report(ClusterEvent.LOST, KEY)
    assert not caplog.records and observer.counts["lost"] == 1


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        (7, "7"),
        (None, "None"),
        ("100%s", "100%s"),
        ("", "''"),
        ("two words", "'two words'"),
        ("a=b", "'a=b'"),
        ('a"b', "'a\"b'"),
        ("a'b", '"a\'b"'),
        ("line\nforged: a session", "'line\\nforged: a session'"),
        ("\x1b[31m", "'\\x1b[31m'"),
        ("snow\N{SNOWMAN}", "'snow\\u2603'"),
        ("a\ud800", "'a\\ud800'"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 80 + "..."),
    ],
)
def test_details_cannot_forge_a_line(value: object, written: str, caplog: pytest.LogCaptureFixture) -> None:
    Observer().report(ClusterEvent.LOST, request=value)
    assert caplog.messages == [f"lost: messages of a stream are lost request={written}"]


@given(text=st.text(st.characters(exclude_categories=())))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_detail_is_the_line_stays_one(text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    Observer().report(ClusterEvent.LOST, KEY, request=text)
    [message] = caplog.messages
    assert message.isascii() and message.isprintable()
    assert len(message) < 1000
