"""`manage.py mcp_call`, as it is typed, against servers of others and of this package."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.django import called_server
from tests.django.terminals import END, Typist, at_terminal
from tests.support.node import Node
from tests.support.processes import LOOPBACK, ROOT, free_port
from tests.support.scripted_endpoint import ScriptedEndpoint, answer, stream

TOKEN = "a-token-that-nobody-may-read"
LOCAL = json.dumps({"BACKEND": "django.core.cache.backends.locmem.LocMemCache"})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of the official SDK."""
    with called_server.running() as url:
        yield url


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server of this package, with sessions only."""
    settings = {"PROTOCOL_VERSIONS": ["2025-11-25"]}
    environment = {
        "SITE_MCP": json.dumps(settings),
        "SITE_CACHE": LOCAL,
        "REDIS_URL": "redis://unused",
        "SITE_FOLDER": str(tmp_path_factory.mktemp("site")),
    }
    site = "tests.support.cluster.site"
    with Node(settings=f"{site}.settings", application=f"{site}.asgi:application", environment=environment) as node:
        yield node


def run(*arguments: str, stderr: Any = None) -> tuple[str, str, int]:
    """Return what the command writes to the standard output and error, and its exit status."""
    out, err, status = io.StringIO(), stderr or io.StringIO(), 0
    try:
        call_command("mcp_call", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        status = error.returncode
        err.write(f"{error}\n")
    return out.getvalue(), "" if stderr else err.getvalue(), status


def wait_for(path: Path) -> bool:
    """Wait until a server has made a file."""
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.exists()


# -- results ---------------------------------------------------------------------------------------------


def test_result_is_printed_as_text_and_options_may_stand_anywhere(url: str) -> None:
    assert run(url, "add", "a=1", "b=2") == ("3\n", "", 0)
    assert run(url, "add", "--choice=fastest", "a=1", "--arguments", '{"a": 7, "b": 4}') == ("5\n", "", 0)
    assert run(url, "echo", 'value={"k": [1]}') == ("dict {'k': [1]}\n", "", 0)
    assert run(url, "echo", "value=NaN") == ("str NaN\n", "", 0)


def test_json_is_the_whole_result(url: str) -> None:
    out, _, status = run(url, "add", "--json", "a=1")
    result = json.loads(out)
    assert (result["structuredContent"], result["isError"], status) == ({"result": 2}, False, 0)
    out, _, status = run(url, "sell", "--json")
    assert (json.loads(out)["isError"], status) == (True, 1)


def test_list_shows_each_tool_with_its_arguments(url: str) -> None:
    lines = run(url, "--list")[0].splitlines()
    assert lines[:3] == ["add  Add two numbers.", "    a: integer, required", "    b: integer, default 1"]
    assert "    total: number or null, default null" in lines
    listed = json.loads(run(url, "--list", "--json")[0])["tools"]
    assert listed[0]["inputSchema"]["required"] == ["a"]


def test_next_endpoint_is_called_when_the_first_is_down(url: str) -> None:
    down = f"http://{LOOPBACK}:{free_port()}/mcp"
    assert run(f"{down}, {url}", "add", "a=1") == ("2\n", "", 0)
    _, err, _ = run(f"{down},{url}", "add", "a=1", "-v2")
    assert f"endpoint {down} failed: ConnectError" in err


def test_nothing_that_a_server_says_controls_the_terminal(url: str) -> None:
    out, _, _ = run(url, "draw")
    assert out == "a ?]0;title?picture:?\n[image: image/png]\n"
    out, err, _ = run(url, "sell")
    assert "Sold ?[31mout." in out
    _, err, _ = run(url, "refuse")
    assert err == "The server refused: not ?[2Jtoday.\n"
    _, err, _ = run(url, "count", "steps=1", 'text="\\u001b[2J"')
    assert "\x1b" not in err
    assert run(url, "echo", 'value="a\\r\\nb\\té\\u00a0👩\\u200d🚀"')[0] == "str a\nb\té\u00a0👩\u200d🚀\n"


def test_log_messages_are_shown_when_they_are_asked_for(url: str) -> None:
    assert run(url, "log", "level=info", 'text="half\\u001b"') == ("logged\n", "", 0)
    assert run(url, "log", "level=info", 'text="half\\u001b"', "-v2") == ("logged\n", "info: half?\n", 0)
    assert run(url, "log", "level=debug", "text=x", "-v2")[1] == ""
    assert run(url, "log", "level=debug", "text=x", "-v3")[1].startswith("debug: x\n")


# -- credentials -----------------------------------------------------------------------------------------


def test_token_is_sent_and_shown_nowhere(url: str, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    for arguments in ([f"--token={TOKEN}"], [f"--header=Authorization: Bearer {TOKEN}"]):
        out, err, _ = run(url, "header", "name=authorization", "-v3", *arguments)
        assert out == "***\n"
        assert TOKEN not in err + caplog.text
    monkeypatch.setenv("MCP_CALL_TOKEN", TOKEN)
    assert run(url, "header", "name=authorization")[0] == "***\n"
    assert TOKEN in run(url, "header", "name=authorization", "--json")[0], "it was sent"
    assert run(url, "header", "name=x-shelf", "--header=X-Shelf: left")[0] == "left\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://me:secret-word@127.0.0.1/mcp", "add"],
        ["http:/127.0.0.1/mcp?token=secret-word", "add"],
        ["http://127.0.0.1/mcp", "add", "--token=secret-word\n"],
        ["http://127.0.0.1/mcp", "add", "--header=secret-word"],
        ["http://127.0.0.1/mcp", "add", "--header=X-Key: secret-word\r\nX: y"],
    ],
)
def test_refused_words_are_not_repeated_where_they_may_be_secret(arguments: list[str]) -> None:
    out, err, status = run(*arguments)
    assert status == 2
    assert err
    assert "secret" not in out + err


# -- what a call ends with -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{url}"], "Name a tool to call"),
        (["{url}", "add", "--list"], "Name a tool to call"),
        (["{url}", "add", "a"], "Expected key=value, got 'a'"),
        (["{url}", "add", "--arguments", "[1]"], "--arguments must be a JSON object"),
        (["add", "a=1"], "is not the URL of an endpoint"),
        (["{url},{url}", "add"], "duplicate endpoint"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], message: str, url: str) -> None:
    _, err, status = run(*(argument.format(url=url) for argument in arguments))
    assert (status, message in err) == (2, True), err


def test_error_of_the_tool_ends_with_1(url: str) -> None:
    out, err, status = run(url, "sell")
    assert ("Sold" in out, err, status) == (True, "The tool 'sell' reported an error.\n", 1)


def test_refusal_of_the_server_ends_with_3(url: str) -> None:
    assert run(url, "refuse")[2] == 3
    _, err, status = run(url.replace("/mcp", "/elsewhere"), "add", "a=1")
    assert (status, "HTTP 404" in err) == (3, True), err


@pytest.mark.parametrize("refused", [401, 403])
def test_refused_credentials_end_with_3_and_the_status(refused: int) -> None:
    with ScriptedEndpoint({"*": [answer(f"{refused} No")]}) as server:
        _, err, status = run(server.url, "add", "a=1")
    assert (status, f"HTTP {refused} No" in err) == (3, True), err


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("initialize", {}),
        (
            "initialize",
            {"protocolVersion": "1999-01-01", "capabilities": {}, "serverInfo": {"name": "x", "version": ""}},
        ),
        ("tools/call", {}),
        ("tools/call", {"content": [{"type": "\x1b[2J"}]}),
        ("tools/list", {"tools": [{}]}),
    ],
)
def test_answer_that_is_no_mcp_ends_with_3(method: str, result: Any) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": "ID", "result": result}).replace('"ID"', "ID")
    with ScriptedEndpoint({method: [answer("200 OK", "content-type: application/json", body=body)]}) as server:
        _, err, status = run(server.url, "sell")
    assert (status, err.startswith("The server's response cannot be used: "), "\x1b" in err) == (3, True, False), err


def test_addresses_that_must_be_visited_first_are_shown() -> None:
    error = {
        "code": -32042,
        "message": "Log in",
        "data": {"elicitations": [{"mode": "url", "url": "https://l/\x1b"}]},
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 3, "error": error})
    with ScriptedEndpoint({"tools/call": [answer("200 OK", "content-type: application/json", body=body)]}) as server:
        _, err, status = run(server.url, "sell")
    assert "server:\n  https://l/?\nThe server refused: Log in.\n" in err
    assert status == 3


@pytest.mark.slow
def test_endpoints_that_are_down_end_with_4_and_the_error_of_each() -> None:
    urls = [f"http://{LOOPBACK}:{free_port()}/mcp" for _ in range(2)]
    _, err, status = run(",".join(urls), "add", "a=1", "--deadline=0.5")
    assert status == 4
    assert all(f"{url}: ConnectError" in err for url in urls), err


@pytest.mark.slow
def test_call_that_takes_too_long_is_cancelled_and_ends_with_5(url: str, tmp_path: Path) -> None:
    _, err, status = run(url, "wait", f"folder={tmp_path}", "--timeout=1")
    assert (status, err) == (5, "No result within 1 s: the call was cancelled, and may have run.\n")
    assert wait_for(tmp_path / "cancelled")


@pytest.mark.slow
def test_answer_that_is_lost_ends_with_5_and_advice() -> None:
    with ScriptedEndpoint({"tools/call": [b""]}) as server:
        _, err, status = run(server.url, "sell")
        assert (status, "check what it did before you call again" in err) == (5, True), err
        assert server.calls == 1


@pytest.mark.slow
def test_answer_that_is_torn_ends_with_5() -> None:
    torn = answer("200 OK", "content-type: application/json", "content-length: 999", body="{")
    with ScriptedEndpoint({"tools/call": [torn]}) as server:
        assert run(server.url, "sell")[2] == 5
        assert server.calls == 1


@pytest.mark.slow
def test_lost_call_that_is_safe_to_repeat_is_repeated() -> None:
    usual = stream({"jsonrpc": "2.0", "id": "ID", "result": {"content": [{"type": "text", "text": "again"}]}})
    with ScriptedEndpoint({"tools/call": [b"", usual.replace(b'"ID"', b"ID")]}) as server:
        assert run(server.url, "look") == ("again\n", "", 0)
        assert server.calls == 2


# -- on a terminal ---------------------------------------------------------------------------------------


def test_bar_is_drawn_on_a_terminal_and_removed_at_the_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_terminal(monkeypatch) as (typist, err):
        assert run(url, "count", "steps=4", "total=4", 'text="\\u001b[2Jhalf\\nway"', stderr=err)[0] == "counted\n"
    drawn = typist.shown.split("\r")
    assert any(line.startswith(f"[{'#' * 15}{'.' * 15}]  50% 2/4  ?[2Jhalf way") for line in drawn), drawn
    assert "\n" not in typist.shown
    assert "\x1b" not in typist.shown
    assert drawn[-2:] == [" " * 79, ""], "the line is empty, and the cursor at its beginning"


@pytest.mark.parametrize(
    ("total", "shown"),
    [
        ("null", "2"),
        ("0", "2"),
        ("-1", "2"),
        ("1", f"[{'#' * 30}] 100% 2/1"),
        ("1e308", f"[{'.' * 30}]   0% 2/1e+308"),
    ],
)
def test_bar_copes_with_any_total(total: str, shown: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_terminal(monkeypatch) as (typist, err):
        assert run(url, "count", "steps=2", f"total={total}", stderr=err)[0] == "counted\n"
    assert f"\r{shown}\r" in typist.shown


def test_bar_stays_within_its_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_terminal(monkeypatch) as (typist, err):
        run(url, "count", "steps=1", f"text={'漢' * 60}", stderr=err)
    assert typist.shown.split("\r")[0] == f"1  {'漢' * 38}"


FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Full name", "description": "As on the card.", "minLength": 2},
        "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "price": {"type": "number"},
        "gift": {"type": "boolean"},
        "size": {"type": "string", "enum": ["s", "l"], "enumNames": ["small", "large"]},
        "color": {"type": "string", "oneOf": [{"const": "r", "title": "red"}, {"const": "b", "title": "blue"}]},
        "extras": {"type": "array", "items": {"type": "string", "enum": ["bow", "card"]}, "maxItems": 1},
        "note": {"type": "string"},
    },
    "required": ["name", "gift"],
}


def asked(url: str, monkeypatch: pytest.MonkeyPatch, form: Any, *answers: tuple[str, str]) -> tuple[Any, str]:
    """Return what the server got, and what was shown."""
    with at_terminal(monkeypatch, *answers) as (typist, err):
        out, _, status = run(url, "ask", f"form={json.dumps(form)}", stderr=err)
    assert status == 0
    return json.loads(out), typist.shown


def test_form_is_asked_property_by_property_until_each_value_is_valid(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    got, shown = asked(
        url,
        monkeypatch,
        FORM,
        *(("name: ", "A\n"), ("at least 2 characters.\r\nname: ", "Ann Ö.\n")),
        *(("count: ", "ten\n"), ("Expected a whole number.\r\ncount: ", "10\n"), ("at most 9.\r\ncount: ", "\n")),
        *(("price: ", "nan\n"), ("Expected a number.\r\nprice: ", "1.5\n")),
        *(("gift: ", "maybe\n"), ("Expected yes or no.\r\ngift: ", "Yes\n")),
        *(("size: ", "medium\n"), ("Expected one of small, large.\r\nsize: ", "large\n"), ("color: ", "b\n")),
        *(("extras: ", "bow, card\n"), ("at most 1 values.\r\nextras: ", "card\n"), ("note: ", "\n")),
    )
    content = {
        "name": "Ann Ö.",
        "count": 3,
        "price": 1.5,
        "gift": True,
        "size": "l",
        "color": "b",
        "extras": ["card"],
    }
    assert got == {"action": "accept", "content": content}
    assert "The server asks: Fill ?[1min:" in shown
    assert "name (Full name): string, at least 2 characters, required. As on the card." in shown
    assert "count: integer, at least 1, at most 9, default 3\n" in shown


@pytest.mark.parametrize(
    ("answers", "action"),
    [
        ([("name: ", "\n")], "decline"),
        ([("name: ", END)], "cancel"),
        ([("name: ", "Ann\n"), ("count: ", END)], "cancel"),
    ],
)
def test_form_can_be_declined_and_cancelled(
    answers: list[tuple[str, str]], action: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(url, monkeypatch, FORM, *answers)[0] == {"action": action}


def test_form_without_properties_is_a_question_of_yes_or_no(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form = {"type": "object", "properties": {}}
    got, _ = asked(url, monkeypatch, form, ("Agree? [y/N] ", "what\n"), ("Agree? [y/N] ", "y\n"))
    assert got == {"action": "accept", "content": {}}
    assert asked(url, monkeypatch, form, ("Agree? [y/N] ", "\n"))[0] == {"action": "decline"}


@pytest.mark.parametrize(("typed", "action"), [("y\n", "accept"), ("n\n", "decline"), (END, "cancel")])
def test_address_is_shown_and_never_opened(
    typed: str, action: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at_terminal(monkeypatch, ("https://login.example/?\u003f[1m\r\nDone? [y/N] ", typed)) as (_, err):
        out, _, _ = run(url, "send_to", 'url="https://login.example/?\\u001b[1m"', stderr=err)
    assert json.loads(out)["action"] == action


@pytest.mark.servers
def test_question_of_a_session_is_asked_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the call waits for the answer, and does not return to ask."""
    with at_terminal(monkeypatch, ("name: ", "Ann\n")) as (_, err):
        assert run(node.url, "ask", stderr=err)[0] == "accept Ann\n"
    assert run(node.url, "ask")[0] == "decline None\n"


def test_questions_are_declined_without_a_terminal(url: str) -> None:
    out, err, status = run(url, "ask", f"form={json.dumps(FORM)}")
    assert (json.loads(out), status) == ({"action": "decline"}, 0)
    assert "Declined: there is no terminal to answer on." in err


# -- as a process ----------------------------------------------------------------------------------------

BARE = """
SECRET_KEY = "x" * 50
INSTALLED_APPS = ["mcp_transport"]
"""


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a project without database, URLs and tools."""
    (tmp_path / "bare_settings.py").write_text(BARE)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "bare_settings"}


@pytest.mark.slow
def test_project_without_anything_can_call(url: str, bare: dict[str, str]) -> None:
    command = [sys.executable, "-m", "django", "mcp_call", url, "add", "a=1"]
    done = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=60)  # noqa: S603
    assert (done.stdout, done.stderr, done.returncode) == ("2\n", "", 0)


@pytest.mark.slow
def test_terminal_without_unicode_gets_what_it_can_show(url: str, bare: dict[str, str]) -> None:
    """The call has run: what cannot be shown is no reason to fail."""
    command = [sys.executable, "-m", "django", "mcp_call", url, "echo", "value=caf\u00e9 \u6f22"]
    bare["PYTHONIOENCODING"] = "latin-1"
    done = subprocess.run(command, env=bare, capture_output=True, timeout=60)  # noqa: S603
    assert (done.stdout, done.stderr, done.returncode) == (b"str caf\xe9 ?\n", b"", 0)


@pytest.mark.servers
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("question", [False, True])
@pytest.mark.parametrize("era", ["url", "node"])
def test_ctrl_c_cancels_the_call_at_the_server_and_ends_with_130(
    era: str, question: bool, url: str, node: Node, bare: dict[str, str], tmp_path: Path
) -> None:
    """Also while a question waits for its answer."""
    if question:
        arguments = ["ask", f"form={json.dumps(FORM)}"] if era == "url" else ["ask"]
    elif era == "url":
        arguments = ["wait", f"folder={tmp_path}"]
    else:
        arguments = ["count", "name=stopped", "steps=1"]
    awaited = "name: " if question else "1"
    with Typist([(awaited, "")]) as typist:
        command = [sys.executable, "-m", "django", "mcp_call", url if era == "url" else node.url, *arguments]
        with subprocess.Popen(  # noqa: S603
            command, env=bare, stdin=typist.tty, stderr=typist.tty, stdout=subprocess.PIPE, text=True
        ) as process:
            typist.finish()
            process.send_signal(signal.SIGINT)
            try:
                out, _ = process.communicate(timeout=30)
            finally:
                process.kill()
    assert (process.returncode, out) == (130, "")
    assert typist.shown.endswith("Interrupted.\n")
    assert "Traceback" not in typist.shown
    if not question:
        folder = Path(node.variables["SITE_FOLDER"])
        assert wait_for(tmp_path / "cancelled" if era == "url" else folder / "stopped.cancelled")
