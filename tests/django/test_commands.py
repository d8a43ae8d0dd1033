"""`manage.py mcp_tools` and `manage.py mcp_sessions`, as an operator calls them."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.utilities.types import Image
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

from mcp_transport import Context, bootstrap, tool
from tests.engine.client import SessionClient


def run(*words: str) -> str:
    """Return what a command prints; CommandError is what ends it with status 1."""
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


# -- mcp_tools -------------------------------------------------------------------------------------------


@pytest.fixture
def tools(declarations: Any) -> None:
    @tool
    def add(a: int, b: int = 1) -> int:
        """Add two numbers.

        And nothing else.
        """
        return a + b

    @tool(title="Who")
    async def whoami(ctx: Context) -> str:
        return f"{ctx.user.get_username()} {ctx.user.is_authenticated} {ctx.protocol_version}"

    @tool
    def echo(value: Any) -> str:
        return f"{type(value).__name__} {value!r}"

    @tool
    def refuse() -> str:
        raise ToolError("Sold out.")

    @tool
    def draw():  # type: ignore[no-untyped-def]
        return ["a picture:", Image(data=b"png", format="png")]

    @tool
    def ask() -> Any:
        form = ElicitRequestFormParams(message="Sure?", requested_schema={"type": "object", "properties": {}})
        return InputRequiredResult(input_requests={"sure": ElicitRequest(params=form)})


def test_list_prints_a_line_a_tool(tools: None) -> None:
    lines = run("mcp_tools", "list").splitlines()
    assert lines == ["add     Add two numbers.", "whoami", "echo", "refuse", "draw", "ask"]


def test_list_without_tools_prints_nothing(declarations: Any) -> None:
    assert run("mcp_tools", "list") == ""


def test_list_as_json_is_the_whole_answer(tools: None) -> None:
    listed = json.loads(run("mcp_tools", "list", "--json"))
    assert [item["name"] for item in listed] == ["add", "whoami", "echo", "refuse", "draw", "ask"]
    assert listed[0]["inputSchema"]["required"] == ["a"]


def test_show_prints_one_tool(tools: None) -> None:
    shown = json.loads(run("mcp_tools", "show", "add"))
    assert (shown["name"], shown["inputSchema"]["properties"]["b"]["default"]) == ("add", 1)


def test_show_of_an_unknown_tool_fails_and_names_the_known(tools: None) -> None:
    with pytest.raises(CommandError, match=r"no tool 'sub'\. Known: add, whoami, echo, refuse, draw, ask\."):
        run("mcp_tools", "show", "sub")


def test_show_without_tools_fails(declarations: Any) -> None:
    with pytest.raises(CommandError, match="Known: none"):
        run("mcp_tools", "show", "sub")


def test_call_prints_the_texts(tools: None) -> None:
    assert run("mcp_tools", "call", "add", "a=1", "b=2") == "3\n"
    assert run("mcp_tools", "call", "draw") == "a picture:\n[image: image/png]\n"


@pytest.mark.parametrize(
    ("pair", "seen"),
    [
        ("value=1", "int 1"),
        ("value=1.5", "float 1.5"),
        ("value=true", "bool True"),
        ("value=null", "NoneType None"),
        ('value=["a"]', "list ['a']"),
        ("value=mug-blue", "str 'mug-blue'"),
        ('value="1"', "str '1'"),
        ("value=a=b", "str 'a=b'"),
        ("value=", "str ''"),
    ],
)
def test_value_that_is_json_is_read_as_such(pair: str, seen: str, tools: None) -> None:
    assert run("mcp_tools", "call", "echo", pair) == f"{seen}\n"


def test_arguments_come_as_one_document_too(tools: None) -> None:
    assert run("mcp_tools", "call", "add", "--arguments", '{"a": 1, "b": 2}') == "3\n"
    assert run("mcp_tools", "call", "add", "b=5", "--arguments", '{"a": 1, "b": 2}') == "6\n"


def test_call_as_json_is_the_whole_result(tools: None) -> None:
    result = json.loads(run("mcp_tools", "call", "add", "a=1", "--json"))
    assert result["structuredContent"] == {"result": 2}
    assert result["resultType"] == "complete"


def test_call_is_anonymous_unless_a_user_is_named(tools: None, transactional_db: None) -> None:
    User.objects.create_user("ann")
    assert run("mcp_tools", "call", "whoami") == " False 2026-07-28\n"
    assert run("mcp_tools", "call", "whoami", "--user", "ann") == "ann True 2026-07-28\n"


def test_call_as_an_unknown_user_fails(tools: None, db: None) -> None:
    with pytest.raises(CommandError, match="There is no user 'bob'"):
        run("mcp_tools", "call", "whoami", "--user", "bob")


def test_tool_error_is_printed_and_ends_the_command_badly(tools: None) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match="The tool 'refuse' reported an error"):
        call_command("mcp_tools", "call", "refuse", stdout=out)
    assert "Sold out." in out.getvalue()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sub"], "Unknown tool: sub"),
        (["add", "a"], "Expected key=value, got 'a'"),
        (["add", "--arguments", "{"], "--arguments must be a JSON object: "),
        (["add", "--arguments", "[1]"], "--arguments must be a JSON object"),
    ],
)
def test_bad_call_ends_with_a_sentence(words: list[str], message: str, tools: None) -> None:
    with pytest.raises(CommandError, match=message.replace("(", r"\(")):
        run("mcp_tools", "call", *words)


def test_question_is_printed_since_nobody_can_answer_it(tools: None) -> None:
    lines = run("mcp_tools", "call", "ask").splitlines()
    assert lines == ["The tool asks for input, which this command cannot give:", "Sure?"]


def test_calls_leave_the_projects_endpoint_alone(tools: None) -> None:
    run("mcp_tools", "call", "add", "a=1")
    assert bootstrap._endpoint is None


@pytest.mark.parametrize("words", [["mcp_tools"], ["mcp_tools", "dance"], ["mcp_sessions"], ["mcp_sessions", "show"]])
def test_incomplete_command_is_refused(words: list[str]) -> None:
    with pytest.raises(CommandError):
        run(*words)


# -- mcp_sessions ----------------------------------------------------------------------------------------


@pytest.fixture
def shared_cache(settings: Any, tmp_path: Any) -> None:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path), "OPTIONS": {"MAX_ENTRIES": 10_000}}}


@async_to_sync
async def open_session(user: Any = None) -> SessionClient:
    """Open a session as another process would, which then ends."""
    client = SessionClient(bootstrap.endpoint(), user=user)
    await client.open()
    await client.endpoint.stop()
    return client


@async_to_sync
async def status_of_ping(client: SessionClient) -> int:
    try:
        return (await client.request("ping")).status
    finally:
        await client.endpoint.stop()


@pytest.fixture
def ids(shared_cache: None) -> list[str]:
    """Two sessions, the second of a user; return their short ids, newest first."""
    open_session()
    open_session(User(pk=7, username="ann"))
    return [item["id"] for item in json.loads(run("mcp_sessions", "list", "--json"))]


def test_sessions_are_listed_newest_first(ids: list[str]) -> None:
    head, first, second, total = run("mcp_sessions", "list").splitlines()
    assert head.split() == ["id", "client", "protocol", "user", "last", "seen", "requests", "errors"]
    assert first.split()[:5] == [ids[0], "test", "1", "2025-11-25", "ann"]
    assert second.split()[:5] == [ids[1], "test", "1", "2025-11-25", "-"]
    assert total == "2 of 2 sessions"


def test_list_can_be_short(ids: list[str]) -> None:
    lines = run("mcp_sessions", "list", "--limit", "1").splitlines()
    assert (len(lines), lines[-1]) == (3, "1 of 2 sessions")
    assert [item["id"] for item in json.loads(run("mcp_sessions", "list", "--limit", "1", "--json"))] == ids[:1]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--user", "ann"], [0]),
        (["--user", "eve"], []),
        (["--client", "test 1"], [0, 1]),
        (["--client", "test 1", "--user", "ann"], [0]),
        (["--protocol", "2025-11-25"], [0, 1]),
        (["--protocol", "2025-06-18"], []),
        (["--node", "nowhere"], []),
        (["--search", "AN"], [0]),
        (["--search", "te"], [0, 1]),
    ],
    ids=str,
)
def test_sessions_are_found_by_what_is_known_of_them(options: list[str], found: list[int], ids: list[str]) -> None:
    assert [item["id"] for item in json.loads(run("mcp_sessions", "list", "--json", *options))] == [
        ids[at] for at in found
    ]
    assert run("mcp_sessions", "list", *options).splitlines()[-1] == f"{len(found)} of {len(found)} sessions"


def test_list_without_sessions_is_empty(shared_cache: None) -> None:
    assert run("mcp_sessions", "list").splitlines()[-1] == "0 of 0 sessions"
    assert json.loads(run("mcp_sessions", "list", "--json")) == []


@pytest.mark.parametrize("length", [10, 6])
def test_session_is_shown_by_a_part_of_its_id(length: int, ids: list[str]) -> None:
    shown = json.loads(run("mcp_sessions", "show", ids[0][:length].upper()))
    assert (shown["id"], shown["user"], shown["protocol_version"]) == (ids[0], "ann", "2025-11-25")
    assert shown["client_info"] == {"name": "test", "version": "1"}
    assert shown["created"].endswith("+00:00")
    assert "key" not in shown


def test_ended_session_is_gone_for_its_client(shared_cache: None) -> None:
    client = open_session()
    assert status_of_ping(client) == 200
    [session] = json.loads(run("mcp_sessions", "list", "--json"))
    assert run("mcp_sessions", "end", session["id"]) == f"ended {session['id']}\n"
    assert status_of_ping(client) == 404
    assert json.loads(run("mcp_sessions", "list", "--json")) == []


def test_several_sessions_are_ended_at_once(ids: list[str]) -> None:
    assert run("mcp_sessions", "end", *ids) == "".join(f"ended {name}\n" for name in ids)
    assert json.loads(run("mcp_sessions", "list", "--json")) == []


@pytest.mark.parametrize("verb", ["show", "end"])
def test_unknown_id_fails_and_ends_nothing(verb: str, ids: list[str]) -> None:
    with pytest.raises(CommandError, match="No session has an id that begins with '0000'"):
        run("mcp_sessions", verb, *([ids[0]] if verb == "end" else []), "0000")
    assert len(json.loads(run("mcp_sessions", "list", "--json"))) == 2


@pytest.mark.parametrize("verb", ["show", "end"])
def test_ambiguous_id_fails_and_ends_nothing(verb: str, ids: list[str]) -> None:
    with pytest.raises(CommandError, match="More than one session has an id that begins with ''"):
        run("mcp_sessions", verb, "")
    assert len(json.loads(run("mcp_sessions", "list", "--json"))) == 2


@pytest.mark.parametrize("values", [{}, {"BACKEND": "memory"}, {"BACKEND": "cache"}])
@pytest.mark.parametrize("words", [["list"], ["show", "a"], ["end", "a"]])
def test_backend_that_no_other_process_sees_is_refused(values: Any, words: list[str], settings: Any) -> None:
    settings.MCP_TRANSPORT = values
    with pytest.raises(CommandError, match=r"where no other process sees them.*MCP_TRANSPORT\['CACHE'\]"):
        run("mcp_sessions", *words)


def test_store_that_does_not_answer_ends_with_a_sentence(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.django.test_health.BrokenCache"}}
    with pytest.raises(CommandError, match="cache 'default' did not answer"):
        run("mcp_sessions", "list")
