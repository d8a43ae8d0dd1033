"""`manage.py mcp_doctor` as a command."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from mcp_transport.doctor import Finding, Status
from mcp_transport.management.commands.mcp_doctor import exit_status
from tests.doctor.conftest import PAGES, Nodes
from tests.doctor.faulty_proxies import FaultyNginx
from tests.support.processes import LOOPBACK, free_port

TOKEN = "a-token-that-nobody-may-read"


def run(*arguments: str) -> tuple[str, int]:
    out, status = io.StringIO(), 0
    try:
        call_command("mcp_doctor", *arguments, stdout=out)
    except SystemExit as leaving:
        status = int(str(leaving.code))
    return out.getvalue(), status


@pytest.mark.servers
def test_good_path_ends_with_0(nodes: Nodes) -> None:
    with FaultyNginx(nodes.ports) as proxy:
        text, status = run(proxy.url, "--idle=1.2", "--expect-nodes=2", f"--origin={PAGES}")
    assert status == 0, text
    assert text.startswith(f"MCP endpoint {proxy.url}\n")
    assert text.endswith("24 ok, 0 warnings, 0 problems, 0 unknown\n")


@pytest.mark.servers
def test_problem_ends_with_1_and_the_token_is_in_no_word(nodes: Nodes, caplog: Any, monkeypatch: Any) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MCP_DOCTOR_TOKEN", TOKEN)
    echo = f'if ($http_authorization = "Bearer {TOKEN}") {{ return 301 /$http_authorization; }}'
    with FaultyNginx(nodes.ports, add=echo) as proxy:
        text, status = run(proxy.url, "--idle=1.2", "--json")
    by_id = {finding["id"]: finding for finding in json.loads(text)["findings"]}
    assert status == 1
    assert by_id["initialize"]["status"] == "problem"
    assert by_id["initialize"]["fix"]
    assert "HTTP 301" in by_id["initialize"]["seen"]
    assert TOKEN not in text + caplog.text


@pytest.mark.servers
def test_echoed_token_is_hidden(nodes: Nodes) -> None:
    """The token is only sent to the endpoint, which repeats it in a JSON-RPC error."""
    error = '{"jsonrpc": "2.0", "error": {"code": 1, "message": "you sent $http_authorization"}}'
    echo = f"if ($http_authorization) {{ return 418 '{error}'; }}"
    with FaultyNginx(nodes.ports, add=echo) as proxy:
        text, status = run(proxy.url, "--idle=1.2", f"--token={TOKEN}")
    assert status == 1
    assert "you sent Bearer ***" in text
    assert TOKEN not in text


OK, WARNING, PROBLEM, UNKNOWN = (Finding("x", status, "seen") for status in Status)


@pytest.mark.parametrize(
    ("findings", "is_incomplete", "status", "strict"),
    [
        ([OK], False, 0, 0),
        ([OK, WARNING], False, 0, 1),
        ([OK, UNKNOWN], False, 0, 2),
        ([OK, UNKNOWN], True, 2, 2),
        ([PROBLEM, UNKNOWN], True, 1, 1),
    ],
)
def test_exit_status(findings: list[Finding], is_incomplete: bool, status: int, strict: int) -> None:
    for is_strict, expected in ((False, status), (True, strict)):
        assert exit_status(findings, is_incomplete=is_incomplete, is_strict=is_strict) == expected


def test_nobody_there_is_said_in_a_sentence() -> None:
    text, status = run(f"http://{LOOPBACK}:{free_port()}/mcp", "--idle=1")
    assert status == 1
    assert "PROBLEM  reachable  nothing listens on 127.0.0.1:" in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_and_colours_too() -> None:
    out, err = Terminal(), Terminal()
    with pytest.raises(SystemExit):
        call_command("mcp_doctor", f"http://{LOOPBACK}:{free_port()}/mcp", stdout=out, stderr=err, force_color=True)
    assert "the connection" in err.getvalue()
    assert "\x1b[31;1mPROBLEM " in out.getvalue()


@pytest.mark.parametrize(
    "url",
    [
        "mcp.example.com",
        "ftp://mcp.example.com/mcp",
        "http://me:secret@127.0.0.1/mcp",
        "http://127.0.0.1/mcp?token=secret",
        "http://127.0.0.1:99999/mcp",
        "http://127.0.0.1/mcp\n",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(CommandError) as refused:
        run(url)
    assert refused.value.returncode == 2
    assert "secr" not in str(refused.value)


ORIGINS = ("https://ü.example", "x", "https://x/y", "https://me:secret@x", "*", "")
OPTIONS = ["--idle=0", "--expect-nodes=-1", "--token=secret\nX: y", "--token=secrét"]


@pytest.mark.parametrize("option", [*OPTIONS, *(f"--origin={origin}" for origin in ORIGINS), "--origin=null"])
def test_an_option_that_cannot_be_meant_is_refused(option: str) -> None:
    with pytest.raises(CommandError) as refused:
        run("http://127.0.0.1/mcp", "--origin=https://x", option)
    assert "secr" not in str(refused.value)
