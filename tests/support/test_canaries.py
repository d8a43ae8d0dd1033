"""The look-out itself: it sees what it should, and does not cry at every long word."""

from __future__ import annotations

import logging

import pytest

from mcp_transport.domain.session import Session, session_key, short_id
from mcp_transport.engine.session_id import seal
from tests.support.canaries import PLANTED, Watch, leaks

RANDOM = "gk1WkbQpYw7bTq-_u0Zr3yYqkq5hX2aVb9N4sT8cJdE"
SESSION = Session(key="", protocol_version="2025-11-25", client_info={"name": "test"}, ends=1e9)


@pytest.mark.parametrize(
    "secret",
    [
        seal(SESSION, [b"k" * 32]),
        RANDOM,
        f"mcp_{RANDOM}",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
        PLANTED,
    ],
    ids=["sealed", "random", "personal token", "jwt", "planted"],
)
@pytest.mark.parametrize("line", ["session {} opened", "{}", "'{}'", "id={},", '"{}"'])
def test_secrets_are_seen(secret: str, line: str) -> None:
    assert leaks(line.format(secret))


def test_a_random_session_id_has_the_shape_that_is_looked_for() -> None:
    assert len(seal(SESSION, [])) == len(RANDOM)


@pytest.mark.parametrize(
    "line",
    [
        f"session {short_id(session_key('x'))} opened by 'test'",
        f"key {session_key('x')}",
        "test_a_subscription_to_a_hidden_resource_is_kept_from_nobody",
        "Task-12 at mcp_transport/engine/sessionful/call_group.py:140",
        "d41d8cd98f00b204e9800998ecf8427e",
        "",
    ],
)
def test_other_words_are_not(line: str) -> None:
    assert not leaks(line)


def test_the_watch_reads_messages_and_tracebacks() -> None:
    watch = Watch()
    for error in (None, (ValueError, ValueError(PLANTED), None)):
        watch.handle(logging.LogRecord("x", logging.DEBUG, "", 0, "%s", (PLANTED if error is None else "",), error))
    assert len(watch.taken()) == 2
    assert watch.taken() == []
