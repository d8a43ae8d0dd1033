"""`manage.py mcp_tools`, as an operator calls it."""

from __future__ import annotations

import json
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.utilities.types import Image
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

from mcp_transport import Context, bootstrap, tool


def run(*arguments: str) -> str:
    """Return what a command prints; CommandError is what ends it with status 1."""
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


DEEP = "[" * 5000 + "]" * 5000


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


def test_list_prints_a_line_a_tool_or_the_whole_answer(tools: None) -> None:
    lines = run("mcp_tools", "list").splitlines()
    assert lines == ["add     Add two numbers.", "whoami", "echo", "refuse", "draw", "ask"]
    listed = json.loads(run("mcp_tools", "list", "--json"))
    assert [item["name"] for item in listed] == ["add", "whoami", "echo", "refuse", "draw", "ask"]
    assert listed[0]["inputSchema"]["required"] == ["a"]


def test_list_without_tools_says_where_they_were_looked_for(
    declarations: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("orders", "apps/stock", "shop"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "orders/mcp.py").touch()
    (tmp_path / "apps/stock/mcp.py").touch()
    monkeypatch.chdir(tmp_path)
    lines = run("mcp_tools", "list").splitlines()
    assert lines[0] == "No tools are declared. Searched for mcp.py in the installed apps:"
    assert "  mcpsite.shop: mcp.py declares no tool" in lines
    assert "  django.contrib.auth" in lines
    assert lines[-2:] == [
        "orders/mcp.py is not in an app of INSTALLED_APPS. Is 'orders' missing there?",
        "apps/stock/mcp.py is not in an app of INSTALLED_APPS. Is 'apps.stock' missing there?",
    ]
    assert run("mcp_tools", "list", "--json") == "[]\n"


def test_list_of_another_server_without_tools_names_that_server(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "tests.support.mcp_servers.empty"}
    assert run("mcp_tools", "list") == (
        "The server of MCP_TRANSPORT['SERVER'], tests.support.mcp_servers.empty, has no tools.\n"
    )


def test_show_prints_one_tool(tools: None) -> None:
    shown = json.loads(run("mcp_tools", "show", "add"))
    assert (shown["name"], shown["inputSchema"]["properties"]["b"]["default"]) == ("add", 1)


def test_show_of_an_unknown_tool_fails_and_names_the_known(declarations: Any) -> None:
    with pytest.raises(CommandError, match=r"no tool 'sub'\. Tools: none"):
        run("mcp_tools", "show", "sub")
    tool(name="add")(lambda: 1)
    tool(name="draw")(lambda: 1)
    with pytest.raises(CommandError, match=r"no tool 'sub'\. Tools: add, draw\."):
        run("mcp_tools", "show", "sub")


def test_call_prints_the_texts_or_the_whole_result(tools: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert run("mcp_tools", "call", "add", "a=1", "b=2") == "3\n"
    assert run("mcp_tools", "call", "add", "--arguments", '{"a": 1, "b": 2}') == "3\n"
    assert run("mcp_tools", "call", "add", "b=5", "--arguments", '{"a": 1, "b": 2}') == "6\n"
    assert run("mcp_tools", "call", "draw") == "a picture:\n[image: image/png]\n"
    result = json.loads(run("mcp_tools", "call", "add", "a=1", "--json"))
    assert (result["structuredContent"], result["resultType"]) == ({"result": 2}, "complete")
    assert "drained" not in caplog.text, "nobody is told of the node that the command was"
    assert bootstrap._endpoint is None, "the project's endpoint is left alone"


@pytest.mark.parametrize(
    ("pair", "observed"),
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
        ("value=NaN", "str 'NaN'"),
        ("value=-Infinity", "str '-Infinity'"),
        ("value=[1e999]", "str '[1e999]'"),
        pytest.param(f"value={DEEP}", f"str '{DEEP}'", id="deep"),
    ],
)
def test_value_that_is_json_is_read_as_such(pair: str, observed: str, tools: None) -> None:
    assert run("mcp_tools", "call", "echo", pair) == f"{observed}\n"


def test_call_is_anonymous_unless_a_user_is_named(tools: None, transactional_db: None) -> None:
    User.objects.create_user("ann")
    assert run("mcp_tools", "call", "whoami") == " False 2026-07-28\n"
    assert run("mcp_tools", "call", "whoami", "--user", "ann") == "ann True 2026-07-28\n"
    with pytest.raises(CommandError, match="There is no user 'bob'"):
        run("mcp_tools", "call", "whoami", "--user", "bob")


def test_tool_error_is_printed_and_ends_the_command_badly(tools: None) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match="The tool 'refuse' reported an error"):
        call_command("mcp_tools", "call", "refuse", stdout=out)
    assert "Sold out." in out.getvalue()


def test_a_question_is_printed_and_ends_the_command_badly(tools: None) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match=r"The tool 'ask' requests input, which this command cannot provide\."):
        call_command("mcp_tools", "call", "ask", stdout=out)
    assert out.getvalue() == "Sure?\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sub"], r"There is no tool 'sub'\. Tools: add, whoami"),
        (["add", "a"], "Expected key=value, got 'a'"),
        (["add", "--arguments", "{"], "--arguments must be a JSON object: "),
        pytest.param(["add", "--arguments", DEEP], "JSON object: it is nested too deeply", id="deep"),
        (["add", "--arguments", '{"a": NaN}'], "--arguments must be a JSON object: NaN is not valid JSON"),
        (["add", "--arguments", '{"a": 1e999}'], "--arguments must be a JSON object: 1e999 is too large"),
        (["add", "--arguments", "[1]"], "--arguments must be a JSON object"),
    ],
)
def test_bad_call_ends_with_a_sentence(arguments: list[str], message: str, tools: None) -> None:
    with pytest.raises(CommandError, match=message.replace("(", r"\(")):
        run("mcp_tools", "call", *arguments)


def test_words_that_cannot_be_read_end_with_2(tools: None) -> None:
    for arguments in (["a"], ["--arguments", "{"], ["--arguments", "[1]"]):
        with pytest.raises(CommandError) as wrong:
            run("mcp_tools", "call", "add", *arguments)
        assert wrong.value.returncode == 2


def test_no_result_controls_the_terminal(declarations: Any) -> None:
    tool(name="paint")(lambda: "\x1b[31mred\r\n\tbread\x9b")
    assert run("mcp_tools", "call", "paint") == "?[31mred\n\tbread?\n"


def test_no_depth_ends_with_a_stack(tools: None) -> None:
    for depth in range(100, 1000, 100):
        with suppress(CommandError):
            run("mcp_tools", "call", "echo", f"value={'[' * depth}{']' * depth}")


@pytest.mark.parametrize("arguments", [["mcp_tools"], ["mcp_tools", "dance"]])
def test_incomplete_command_is_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run(*arguments)
