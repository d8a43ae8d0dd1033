"""The record in the database: an entry for each event, whatever clients send."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core import checks
from django.core.management import call_command
from django.db import DatabaseError, connection

from mcp_transport import bootstrap, signals, tool
from mcp_transport.contrib.audit import receivers
from mcp_transport.contrib.audit.apps import AuditConfig
from mcp_transport.contrib.audit.models import AuditEntries, AuditEntry, Event, Outcome
from mcp_transport.contrib.audit.serialization import MAX_ARGUMENT_BYTES, single_line, storable_arguments, values_of
from mcp_transport.domain.audit_events import AccessDenied, AuditEvent, SessionClosed, SessionOpened, ToolCalled
from mcp_transport.domain.principal import ANONYMOUS, Principal
from mcp_transport.domain.session import session_key
from tests.support.client import send_sessionless
from tests.support.listeners import BADGE, SECRET, SIGNALS, AnnsClient, recording

ANN = Principal("https://auth.example.com", "7", name="ann")
WHEN = 1_750_000_000.25

OPENED = SessionOpened(when=WHEN, principal=ANN, session="k3v5qzt2ab", address="192.0.2.1", client="desk")
CLOSED = SessionClosed(when=WHEN, principal=ANN, session="k3v5qzt2ab", reason="limit")
CALLED = ToolCalled(
    when=WHEN,
    principal=ANN,
    tool="restock",
    outcome="error",
    seconds=0.123456789,
    session="k3v5qzt2ab",
    request="7",
    node="n1",
    kind="exception",
    error="KeyError",
    code=-32603,
    message="no such mug\n",
    address="192.0.2.1",
    arguments={"sku": "mug-blue", "number": [1, 2.5, None, True]},
)
DENIED = AccessDenied(
    when=WHEN, principal=ANONYMOUS, reason="no scope", address="192.0.2.1", operation="tools/call", name="delete"
)


def called(arguments: Any = None, principal: Principal = ANN, tool: str = "restock") -> ToolCalled:
    return ToolCalled(when=WHEN, principal=principal, tool=tool, outcome="ok", seconds=0.5, arguments=arguments)


def stored(event: AuditEvent) -> AuditEntry:
    """Return what the database has of an event, read anew."""
    return AuditEntry.objects.get(pk=AuditEntry.objects.record(event).pk)


# -- what is stored of an event --------------------------------------------------------------------------

WHO = {"issuer": "https://auth.example.com", "subject": "7", "user": "ann"}
EMPTY = {
    **dict.fromkeys(("user", "issuer", "subject", "address", "session", "client"), ""),
    **dict.fromkeys(("operation", "name", "outcome", "reason"), ""),
    **dict.fromkeys(("request", "node", "kind", "error", "message"), ""),
    "code": None,
    "seconds": None,
    "arguments": None,
}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (OPENED, {**WHO, "session": "k3v5qzt2ab", "address": "192.0.2.1", "client": "desk"}),
        (CLOSED, {**WHO, "session": "k3v5qzt2ab", "outcome": "limit"}),
        (
            CALLED,
            {
                **WHO,
                "session": "k3v5qzt2ab",
                "address": "192.0.2.1",
                "operation": "tools/call",
                "name": "restock",
                "outcome": "error",
                "seconds": 0.123457,
                "request": "7",
                "node": "n1",
                "kind": "exception",
                "error": "KeyError",
                "code": -32603,
                "message": "no such mug\\n",
                "arguments": {"sku": "mug-blue", "number": [1, 2.5, None, True]},
            },
        ),
        (DENIED, {"address": "192.0.2.1", "operation": "tools/call", "name": "delete", "reason": "no scope"}),
    ],
    ids=lambda item: type(item).__name__,
)
def test_every_event_becomes_an_entry(event: AuditEvent, expected: dict[str, Any]) -> None:
    values: dict[str, Any] = {**AuditEntry.objects.filter(pk=stored(event).pk).values().get()}
    kind = re.sub(r"(?<!^)([A-Z])", r"_\1", type(event).__name__).lower()
    assert values.pop("id")
    assert values == {**EMPTY, **expected, "event": kind, "when": datetime.fromtimestamp(WHEN, UTC)}


def test_fields_of_the_events_are_documented() -> None:
    kinds = (SessionOpened, SessionClosed, ToolCalled, AccessDenied)
    text = (Path(__file__).parents[2] / "docs/howto/audit.md").read_text()
    [rows] = re.findall(r"^\| Field \| `SessionOpened` .*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    documented = {cells[1].strip("` "): cells[2:6] for cells in (row.split("|") for row in rows.splitlines())}
    fields_of_events = {field.name: None for kind in kinds for field in fields(kind)}
    assert set(documented) == set(fields_of_events)
    for name, cells in documented.items():
        has = [any(field.name == name for field in fields(kind)) for kind in kinds]
        assert [cell.strip() == "yes" for cell in cells] == has, name


def test_kinds_and_outcomes_are_those_of_the_engine() -> None:
    assert [values_of(event)["event"] for event in (OPENED, CLOSED, CALLED, DENIED)] == Event.values
    assert {"ok", "error", "cancelled", "client", "limit", "staff"} == set(Outcome.values)


@pytest.mark.django_db
@pytest.mark.parametrize(("code", "expected"), [(2**31 - 1, 2**31 - 1), (-(10**30), None), (None, None)])
def test_code_that_no_column_can_hold_is_left_out(code: int | None, expected: int | None) -> None:
    assert stored(replace(CALLED, code=code)).code == expected


@pytest.mark.django_db
def test_the_previous_release_can_add_entries() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO mcp_audit_auditentry ("when", event, user, issuer, subject, address, session, client, '
            "operation, name, outcome, reason) VALUES "
            "('2025-01-01', 'tool_called', '', '', '', '', '', '', '', '', 'ok', '')"
        )
    assert AuditEntry.objects.get().kind == ""


@pytest.mark.django_db
def test_entry_is_called_by_what_it_tells() -> None:
    assert str(stored(CALLED)) == "2025-06-15 15:06:40+00:00 tool_called ann restock"
    assert str(stored(CLOSED)) == "2025-06-15 15:06:40+00:00 session_closed ann k3v5qzt2ab"


def test_time_is_naive_where_the_project_has_it_so(settings: Any) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
    assert values_of(CALLED)["when"] == datetime(2025, 6, 15, 17, 6, 40, 250_000)


@pytest.mark.parametrize(
    ("text", "stored_value"),
    [
        ("a tool's name", "a tool's name"),
        ("Größe 長さ 🙂", "Größe 長さ 🙂"),
        ("", ""),
        ("a\x00b", r"a\x00b"),
        ("a\ud800b", r"a\ud800b"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("a\u202eb", r"a\u202eb"),
        ("n" * 20, "n" * 20),
        ("n" * 21, "n" * 19 + "…"),
        ("\x00" * 9, r"\x00\x00\x00\x00\x00"[:19] + "…"),
        ("n" * 19 + "\x00", "n" * 19 + "…"),
    ],
)
def test_words_are_one_line_and_short(text: str, stored_value: str) -> None:
    assert single_line(text, 20) == stored_value
    assert len(stored_value) <= 20


@pytest.mark.parametrize(
    ("arguments", "stored_value"),
    [
        (None, None),
        ({}, {}),
        ({"a": "Größe 🙂\n\t"}, {"a": "Größe 🙂\n\t"}),
        ({"a\x00": ["b\x00", {"c": "\ud800d"}]}, {r"a\x00": [r"b\x00", {"c": r"\ud800d"}]}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ("no object", "no object"),
        ({"a": 2**64 - 1, "b": -0.5, "c": 1e300}, {"a": 2**64 - 1, "b": -0.5, "c": 1e300}),
    ],
)
def test_arguments_are_kept_as_json_takes_them(arguments: Any, stored_value: Any) -> None:
    assert storable_arguments(arguments) == stored_value


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


NO_JSON: list[Any] = [{"a": value} for value in (float("nan"), float("inf"), {1, 2}, object(), b"bytes", 10**5000)]


@pytest.mark.parametrize("arguments", [*NO_JSON, {("a", "b"): 1}, nested(51), nested(100_000)], ids=lambda _: "")
def test_what_json_cannot_hold_becomes_a_note(arguments: Any) -> None:
    assert storable_arguments(arguments) == "not recorded: they cannot be stored as JSON"


def test_nesting_has_a_limit_that_databases_keep() -> None:
    assert storable_arguments(nested(50)) == nested(50)


def test_long_arguments_become_a_note() -> None:
    frame = len('{"a": ""}')
    fits = {"a": "n" * (MAX_ARGUMENT_BYTES - frame)}
    assert storable_arguments(fits) == fits
    assert (
        storable_arguments({"a": "n" * (MAX_ARGUMENT_BYTES - frame + 1)})
        == f"not recorded: {MAX_ARGUMENT_BYTES + 1} bytes"
    )
    assert "not recorded" in storable_arguments({"a": "ö" * (MAX_ARGUMENT_BYTES // 2)})


HOSTILE = "<script>alert(1)</script>\x00\ud800\u202e'\"; DROP TABLE --" + "n" * 5000


@pytest.mark.django_db
def test_nothing_that_a_client_sends_is_too_much() -> None:
    someone = Principal(issuer=HOSTILE, subject=HOSTILE, name=HOSTILE)
    events: list[AuditEvent] = [
        SessionOpened(when=WHEN, principal=someone, session=HOSTILE, address=HOSTILE, client=HOSTILE),
        SessionClosed(when=WHEN, principal=someone, session=HOSTILE, reason=HOSTILE),
        called({HOSTILE: HOSTILE}, someone, HOSTILE),
        AccessDenied(when=WHEN, principal=someone, reason=HOSTILE, address=HOSTILE, operation=HOSTILE, name=HOSTILE),
    ]
    for event in events:
        entry = stored(event)
        entry.full_clean(exclude=["outcome"])
        for field in AuditEntry._meta.concrete_fields:
            if field.max_length is not None:
                assert len(getattr(entry, field.name)) <= field.max_length
        assert entry.user.startswith(r"<script>alert(1)</script>\x00\ud800\u202e")
    assert AuditEntry.objects.count() == 4


# -- from the engine to the database ---------------------------------------------------------------------


@pytest.fixture
def served(declarations: Any, settings: Any) -> Iterator[None]:
    @tool
    def add(a: int, b: int) -> int:
        return a + b

    @tool(visible=lambda principal: False)
    def secret() -> str:
        raise AssertionError("it ran")

    settings.MCP_TRANSPORT = {"AUTHENTICATORS": [BADGE], "AUDIT_ARGUMENTS": True}
    with recording():
        yield


@async_to_sync
async def session_of_calls() -> str:
    """Open a session, call, be refused, leave, and come back with wrong credentials; return the session's id."""
    endpoint = bootstrap.endpoint()
    client = AnnsClient(endpoint)
    await client.open()
    await client.call("add", {"a": 1, "b": 2})
    await client.call("secret", {"a": 1})
    await client.delete()
    wrong: dict[str, str | None] = {"authorization": "Bearer stolen-token"}
    assert (await send_sessionless(endpoint, "tools/list", headers=wrong)).status == 401
    await endpoint.pool.stop()
    signals.settle()
    return client.session_id


@pytest.mark.django_db(transaction=True)
def test_a_visit_is_recorded_in_its_order_without_any_secret(served: None) -> None:
    session_id = session_of_calls()
    entries = list(AuditEntry.objects.order_by("pk"))
    short = session_key(session_id)[:10].lower()
    assert [(entry.event, entry.user, entry.session, entry.name, entry.outcome) for entry in entries] == [
        ("session_opened", "ann", short, "", ""),
        ("tool_called", "ann", short, "add", "ok"),
        ("access_denied", "ann", "", "secret", ""),
        ("session_closed", "ann", short, "", "client"),
        ("access_denied", "", "", "", ""),
    ]
    assert [entry.arguments for entry in entries] == [None, {"a": 1, "b": 2}, None, None, None]
    everything = json.dumps(list(AuditEntry.objects.values()), default=str)
    for secret in (SECRET, "stolen-token", session_id, session_key(session_id)):
        assert secret.lower() not in everything.lower()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_fails_harms_no_request(
    served: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise DatabaseError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(AuditEntries, "record", fail)
        session_of_calls()
    assert caplog.text.count("DatabaseError: disk full") == 5
    session_of_calls()
    assert AuditEntry.objects.count() == 5


def test_the_app_listens_once_and_to_everything() -> None:
    before = [len(signal.receivers) for signal in SIGNALS]
    app = AuditConfig.create("mcp_transport.contrib.audit")
    try:
        app.ready()
        app.ready()
        assert [len(signal.receivers) for signal in SIGNALS] == [number + 1 for number in before]
    finally:
        receivers.disconnect()
    assert [len(signal.receivers) for signal in SIGNALS] == before


@pytest.mark.django_db
def test_migrations_are_complete_and_system_checks_find_nothing_wrong() -> None:
    call_command("makemigrations", "mcp_audit", "mcp_tokens", check=True, dry_run=True, stdout=StringIO())
    assert not [message for message in checks.run_checks() if "mcp_" in str(message.obj)]
