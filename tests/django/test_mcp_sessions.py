"""`manage.py mcp_sessions`, as an operator calls it; over Redis in `test_mcp_sessions_redis`."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from mcp_transport import bootstrap
from mcp_transport.domain.session import Session, session_key
from mcp_transport.management import text_tables
from mcp_transport.operators.representation.fields import Table
from tests.support.project_clients import open_session, status_of_ping


def run(*arguments: str) -> str:
    """Return what the command prints; CommandError is what ends it with status 1."""
    out = StringIO()
    call_command("mcp_sessions", *arguments, stdout=out)
    return out.getvalue()


def listed(*options: str) -> list[str]:
    """Return the short ids that are listed."""
    return [item["id"] for item in json.loads(run("list", "--json", *options))]


@pytest.fixture
def shared_cache(settings: Any, tmp_path: Any) -> None:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path), "OPTIONS": {"MAX_ENTRIES": 10_000}}}


@pytest.fixture
def ids(shared_cache: None) -> list[str]:
    """Two sessions, the second of a user; return their short ids, newest first."""
    open_session()
    open_session(User(pk=7, username="ann"))
    return listed()


# -- list --------------------------------------------------------------------------------------------


def test_sessions_are_listed_newest_first(ids: list[str]) -> None:
    head, first, second, total = run("list").splitlines()
    columns = ["id", "client", "protocol", "user", "last", "seen", "requests", "errors", "calls", "streams", "state"]
    assert head.split() == columns
    assert first.split()[-5:] == ["0", "0", "0", "0", "active"]
    assert first.split()[:5] == [ids[0], "test", "1", "2025-11-25", "ann"]
    assert second.split()[:5] == [ids[1], "test", "1", "2025-11-25", "-"]
    assert total == "2 of 2 sessions"
    lines = run("list", "--limit", "1").splitlines()
    assert (len(lines), lines[-1]) == (3, "1 of 2 sessions")
    assert listed("--limit", "1") == ids[:1]


# Options, and which of the two sessions they find, in which order.
SEARCHES: list[tuple[list[str], list[int]]] = [
    (["--user", "ann"], [0]),
    (["--user", "eve"], []),
    (["--client", "test 1"], [0, 1]),
    (["--client", "test 1", "--user", "ann"], [0]),
    (["--protocol", "2025-11-25"], [0, 1]),
    (["--protocol", "2025-06-18"], []),
    (["--node", "nowhere"], []),
    (["--search", "ANN"], [0]),
    (["--search", "test"], [0, 1]),
    (["--order=-last_seen"], [0, 1]),
    (["--order", "last_seen"], [1, 0]),
    (["--order", "created"], [1, 0]),
    (["--order=-created"], [0, 1]),
    (["--state", "active"], [0, 1]),
    (["--state", "busy"], []),
    (["--newer-than", "1h"], [0, 1]),
    (["--older-than", "1h"], []),
    (["--older-than", "0s", "--newer-than", "2d"], [0, 1]),
    (["--created-after", "2026-01-31T12:00:00+01:00"], [0, 1]),
    (["--created-before", "2026-01-31T12:00:00Z"], []),
    (["--state", "active", "--user", "ann", "--newer-than", "90s"], [0]),
]


def test_sessions_are_found_by_what_is_known_of_them_and_ordered(ids: list[str]) -> None:
    for options, matches in SEARCHES:
        assert listed(*options) == [ids[at] for at in matches], options
        assert run("list", *options).splitlines()[-1] == f"{len(matches)} of {len(matches)} sessions", options


def test_sessions_that_are_used_most_come_first(shared_cache: None) -> None:
    clients = [open_session() for _ in range(3)]
    for times, client in enumerate(clients):
        for _ in range(times):
            assert status_of_ping(client) == 200
    assert listed("--order=-requests") == [session_key(client.session_id)[:10].lower() for client in clients[::-1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--newer-than", "1"], "expected a duration such as 90s, 15m, 1h, 2d or 1w, got '1'"),
        (["--older-than", "1 hour"], "expected a duration .* got '1 hour'"),
        (["--older-than", "-1h"], "--older-than"),
        (["--newer-than", "9" * 5000 + "h"], "expected a duration .* got '9{40}…'"),
        (["--created-after", "yesterday"], "expected a time with its offset, such as .*, got 'yesterday'"),
        (["--created-before", "2026-01-31T12:00:00"], "expected a time with its offset"),
        (["--created-before", "2026-02-31T12:00:00Z"], "expected a time with its offset"),
        (["--newer-than", "1h", "--created-after", "2026-01-31T12:00:00Z"], "not allowed with argument"),
        (["--state", "asleep"], "invalid choice: 'asleep'"),
        (["--order", "user"], "invalid choice: 'user'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_odd_options_are_refused_with_a_sentence(arguments: list[str], message: str, shared_cache: None) -> None:
    with pytest.raises(CommandError, match=message):
        run("list", *arguments)


@pytest.mark.parametrize("arguments", [[], ["show"], ["end"], ["cancel", "a"], ["messages"], ["dance"]], ids=str)
def test_incomplete_command_is_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run(*arguments)


# -- show, overview, end -----------------------------------------------------------------------------


def test_session_is_shown_by_a_part_of_its_id(ids: list[str]) -> None:
    shown = json.loads(run("show", ids[0][:6].upper(), "--json"))
    assert shown == json.loads(run("show", ids[0], "--json"))
    assert (shown["id"], shown["user"], shown["protocol"]) == (ids[0], "ann", "2025-11-25")
    assert shown["client_info"] == {"name": "test", "version": "1"}
    assert shown["created"].endswith("+00:00")
    assert (shown["state"], shown["calls"], shown["streams"], shown["history"]) == ("active", [], [], [])
    assert shown["all_processes"] is False

    lines = run("show", ids[0]).splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in lines if line)}
    expected = {"id": ids[0], "client": "test 1", "user": "ann", "state": "active", "protocol": "2025-11-25"}
    assert expected.items() <= fields.items()
    assert (fields["initialized"], fields["log level"], fields["session state keys"]) == ("yes", "-", "-")
    assert lines[-1] == "Calls, streams and history are visible only in the server process that has them."


@async_to_sync
async def store(*sessions: Session) -> None:
    """Put records into the project's backend."""
    for session in sessions:
        await bootstrap.endpoint().backend.sessions.open(session)
    await bootstrap.endpoint().pool.disconnect_if_idle()


def test_hostile_names_command_no_terminal(shared_cache: None) -> None:
    name = "\x1b[2J\x9b31m\u202e\nid"
    named: dict[str, Any] = {"client_info": {"name": name}, "user_agent": name, "user": name}
    store(Session(key="A" * 26, protocol_version="2025-11-25", created=4e9, last_seen=4e9, ends=4.1e9, **named))
    for arguments in (["list"], ["show", "aaaa"], ["overview"]):
        text = run(*arguments)
        assert "?[2J?31m??id" in text
        assert all(character.isprintable() for character in text.replace("\n", ""))
        assert run(*arguments, "--json").isascii()


def test_sessions_are_summed_up(ids: list[str]) -> None:
    lines = [line.split() for line in run("overview").splitlines()]
    assert lines[0] == ["sessions", "2"]
    users = lines.index(["sessions", "by", "user"])
    assert lines[users + 1 : users + 4] == [["user", "sessions"], ["-", "1"], ["ann", "1"]]
    summed = json.loads(run("overview", "--json"))
    assert (summed["sessions"], summed["clients"]) == (2, [{"value": "test 1", "sessions": 2}])


def test_ended_sessions_are_gone_for_their_clients(shared_cache: None) -> None:
    clients = [open_session() for _ in range(3)]
    assert [status_of_ping(client) for client in clients] == [200] * 3
    first, *others = listed()
    assert run("end", first) == f"ended {first}\n"
    assert run("end", *others) == "".join(f"ended {name}\n" for name in others)
    assert [status_of_ping(client) for client in clients] == [404] * 3
    assert listed() == [] and run("list").splitlines()[-1] == "0 of 0 sessions"


@pytest.mark.parametrize("verb", ["show", "end"])
def test_unknown_or_ambiguous_id_fails_and_ends_nothing(verb: str, ids: list[str]) -> None:
    with pytest.raises(CommandError, match="No session has an ID that starts with '0000'"):
        run(verb, *([ids[0]] if verb == "end" else []), "0000")
    with pytest.raises(CommandError, match="More than one session has an ID that starts with ''"):
        run(verb, "")
    assert listed() == ids


# -- backends that know less -------------------------------------------------------------------------


def test_backend_that_cannot_list_is_refused(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.admin.backends.unlisted"}
    with pytest.raises(CommandError, match=r"'tests\.admin\.backends\.unlisted' backend cannot list sessions"):
        call_command("mcp_sessions", "list")


@pytest.mark.parametrize("values", [{}, {"BACKEND": "memory"}, {"BACKEND": "cache"}], ids=str)
def test_backend_that_no_other_process_sees_is_refused(values: Any, settings: Any) -> None:
    settings.MCP_TRANSPORT = values
    for arguments in (["list"], ["show", "a"], ["end", "a"], ["overview"], ["nodes"]):
        with pytest.raises(CommandError, match=r"where no other process can see them.*MCP_TRANSPORT\['CACHE'\]"):
            run(*arguments)


def test_what_is_in_each_process_is_refused(shared_cache: None) -> None:
    for arguments in (["cancel", "a", "7"], ["messages", "a"], ["nodes"], ["traffic"], ["traffic", "--json"]):
        with pytest.raises(CommandError, match=r"The 'cache' backend keeps calls, streams .* 'redis' or 'dynamodb'"):
            run(*arguments)


def test_store_that_does_not_answer_ends_with_a_sentence(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.support.broken_cache.BrokenCache"}}
    with pytest.raises(CommandError, match="cache 'default' did not answer"):
        run("list")


@pytest.mark.parametrize(("length", "expected"), [(60, "n" * 60), (61, "n" * 59 + "…")])
def test_a_cell_that_is_cut_is_marked(length: int, expected: str) -> None:
    content = Table(name="sessions", title="", columns=("Client", "State"), rows=[["n" * length, "idle"]])
    assert [*text_tables._lines(content)][1] == f"{expected}  idle"
