"""`manage.py mcp_doctor` as a command."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.doctor.conftest import PAGES, Nodes
from tests.doctor.faulty_proxies import FaultyNginx

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
    assert text.endswith("22 ok, 0 warning, 0 problem, 0 unknown\n")


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
    assert "secr" not in str(refused.value)


ORIGINS = ("https://ü.example", "x", "https://x/y", "https://me:secret@x", "*", "")
OPTIONS = ["--idle=0", "--expect-nodes=-1", "--token=secret\nX: y", "--token=secrét"]


@pytest.mark.parametrize("option", [*OPTIONS, *(f"--origin={origin}" for origin in ORIGINS), "--origin=null"])
def test_an_option_that_cannot_be_meant_is_refused(option: str) -> None:
    with pytest.raises(CommandError) as refused:
        run("http://127.0.0.1/mcp", "--origin=https://x", option)
    assert "secr" not in str(refused.value)
