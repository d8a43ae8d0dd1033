"""Tests of the verdicts on conformance scenarios, on checks made up for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import probe, summary
from tests.conformance.summary import Check

WIRE = {"id": "wire-schema-valid", "status": "SUCCESS", "details": {"messagesValidated": 2}}
SIMPLE = "This is a simple text response for testing."


def made(status: str, details: Any = None, id: str = "check-id", error: str | None = None) -> Check:
    return {"id": id, "status": status, "details": details, "errorMessage": error}


def result(text: str, is_error: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


@pytest.mark.parametrize(
    ("scenario", "checks", "word"),
    [
        pytest.param("ping", [made("SUCCESS"), WIRE], "ok", id="own check passed"),
        pytest.param("ping", [made("SUCCESS"), made("INFO"), WIRE], "ok", id="a remark beside a pass"),
        pytest.param("ping", [made("SUCCESS"), made("FAILURE")], "FAIL", id="failure"),
        pytest.param("ping", [made("WARNING"), made("FAILURE")], "FAIL", id="failure beats warning"),
        pytest.param("ping", [], "FAIL", id="no checks"),
        pytest.param("ping", [WIRE], "FAIL", id="only the wire schema"),
        pytest.param("ping", [made("SUCCESS"), made("WARNING")], "WARN", id="warning"),
        pytest.param("ping", [made("SUCCESS"), made("SKIPPED")], "SKIP", id="one check skipped"),
        pytest.param("ping", [made("SKIPPED"), WIRE], "SKIP", id="all checks skipped"),
        pytest.param("ping", [made("INFO"), WIRE], "SKIP", id="only a remark"),
    ],
)
def test_verdict(scenario: str, checks: list[Check], word: str) -> None:
    verdict = summary.judge(scenario, checks)
    assert verdict.word == word
    assert verdict.passed == (word == "ok")


def passed(text: str, is_error: bool = False) -> list[Check]:
    return [made("SUCCESS", {"result": result(text, is_error)})]


def listed(**counts: int) -> list[Check]:
    return [made("SUCCESS", counts)]


def polled(status: str) -> list[Check]:
    resumed = made(status, {"receivedToolResponse": True}, id="server-sse-disconnect-resume")
    return [made("SUCCESS", id="server-sse-priming-event"), resumed]


BODY = [made("SUCCESS", {"responseBody": {"result": result("no", True)}})]
ERROR_LATER = [made("INFO", {"data": json.dumps({"result": result("no", True)})})]


@pytest.mark.parametrize(
    ("scenario", "checks", "word"),
    [
        ("tools-call-simple-text", passed(SIMPLE), "ok"),
        ("tools-call-simple-text", passed("Unknown tool", True), "HOLLOW"),
        ("tools-call-simple-text", passed("something else"), "HOLLOW"),
        ("tools-call-error", passed("Unknown tool", True), "HOLLOW"),
        ("tools-call-error", passed(summary.PROOFS["tools-call-error"], True), "ok"),
        ("tools-call-elicitation", passed("User response: action=accept, content={}"), "ok"),
        ("tools-call-elicitation", passed("not supported"), "HOLLOW"),
        ("input-required-result-ignore-extra-params", passed("boom", True), "HOLLOW"),
        ("input-required-result-ignore-extra-params", passed("Hello, Alice!"), "ok"),
        ("input-required-result-validate-input", passed("no", True), "ok"),
        ("http-header-validation", BODY, "HOLLOW"),
        ("server-sse-polling", polled("SUCCESS"), "ok"),
        ("server-sse-polling", polled("INFO"), "HOLLOW"),
        ("server-sse-polling", polled("WARNING"), "WARN"),
        ("server-sse-polling", [*polled("SUCCESS"), *ERROR_LATER], "HOLLOW"),
        ("tools-list", listed(toolCount=0), "HOLLOW"),
        ("tools-list", listed(toolCount=3), "ok"),
        ("resources-list", listed(resourceCount=0), "HOLLOW"),
        ("prompts-list", listed(promptCount=0), "HOLLOW"),
    ],
)
def test_a_pass_must_prove_something(scenario: str, checks: list[Check], word: str) -> None:
    assert summary.judge(scenario, [*checks, WIRE]).word == word


@pytest.mark.parametrize("status", ["FAILURE", "WARNING", "SKIPPED"])
def test_the_line_names_the_reason(status: str) -> None:
    line = str(summary.judge("ping", [made(status, id="ping-answered", error="no answer")]))
    assert "ping-answered: no answer" in line


LOG = """Running all suite (2 scenarios) against http://localhost:1/mcp

=== Running scenario: ping ===
=== Running scenario: tools-list ===

=== SUMMARY ===
"""


def test_scenarios_in_their_order() -> None:
    assert summary.scenarios(LOG) == ["ping", "tools-list"]


@pytest.mark.parametrize(
    "log",
    ["", LOG.replace("SUMMARY", "?"), LOG.replace("(2 scen", "(3 scen"), LOG.replace("Running scenario", "?")],
    ids=["empty", "no summary", "one missing", "none ran"],
)
def test_an_incomplete_run_is_no_result(log: str) -> None:
    with pytest.raises(summary.IncompleteRunError):
        summary.scenarios(log)


def test_checks_are_read_by_scenario(tmp_path: Path) -> None:
    folder = tmp_path / "server-server-stateless-2026-01-02T03-04-05-678Z"
    folder.mkdir()
    (folder / "checks.json").write_text(json.dumps([WIRE]))
    assert summary.read_checks(tmp_path) == {"server-stateless": [WIRE]}


def test_total_counts_only_ok_as_passed() -> None:
    verdicts = [summary.judge("a", [made("SUCCESS")]), summary.judge("b", [made("WARNING")])]
    assert summary.total("2026-07-28", verdicts) == (
        "TOTAL 2026-07-28: 1/2 scenarios passed, 1 WARN; 1 checks passed"
    )


LOGGED = {"method": "notifications/message", "params": {"level": "info", "data": "called"}}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ([LOGGED, {"id": 1, "result": result("done")}], "SUCCESS"),
        ([{"id": 1, "result": result("done")}], "FAILURE"),
        ([LOGGED, {"id": 1, "result": result("Unknown tool", True)}], "FAILURE"),
        ([LOGGED, {"id": 1, "error": {"code": -32602}}], "FAILURE"),
        ([], "FAILURE"),
    ],
    ids=["logged", "silent", "error result", "error", "nothing"],
)
def test_a_diagnostic_tool_must_do_its_work(answer: list[dict[str, Any]], status: str) -> None:
    checks = [made("SUCCESS"), probe.check("test_logging_tool", "notifications/message", answer)]
    assert checks[-1]["status"] == status
    assert summary.judge("server-stateless", checks).passed == (status == "SUCCESS")
