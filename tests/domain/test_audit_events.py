from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any, get_args

import pytest

from mcp_transport.domain.audit_events import AccessDenied, AuditEvent, SessionClosed, SessionOpened, ToolCalled
from mcp_transport.domain.principal import ANONYMOUS, Principal

ANN = Principal("badges", "7", name="ann")
EVENTS: list[Any] = [
    SessionOpened(when=1.0, principal=ANN, session="k3v5qzt2ab"),
    SessionClosed(when=1.0, principal=ANN, session="k3v5qzt2ab", reason="client"),
    ToolCalled(when=1.0, principal=ANN, tool="add", outcome="ok", seconds=0.5),
    AccessDenied(when=1.0, principal=ANONYMOUS, reason="no credentials"),
]
every_event = pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)


def test_these_are_all_kinds_of_events() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(AuditEvent))


@every_event
def test_nobody_changes_what_was(event: Any) -> None:
    for field in fields(event):
        with pytest.raises(FrozenInstanceError):
            setattr(event, field.name, "something else")


@every_event
def test_every_event_says_when_and_who(event: Any) -> None:
    assert event.when == 1.0
    assert isinstance(event.principal, Principal)


def test_arguments_are_left_out_unless_given_and_never_shown() -> None:
    assert EVENTS[2].arguments is None
    called = ToolCalled(
        when=1.0, principal=ANN, tool="pay", outcome="ok", seconds=0.5, arguments={"card": "4242 4242"}
    )
    assert called.arguments == {"card": "4242 4242"}
    assert "4242" not in repr(called)
    assert "pay" in repr(called)
