"""Judge one run of the conformance suite from its log and its checks.json files.

A scenario is

  FAIL    when a check failed, or nothing was measured at all
  WARN    when a check warns (a SHOULD of the specification)
  SKIP    when a check was skipped, or nothing was measured and the suite says why
  HOLLOW  when the suite says "passed", but the server did not do what the scenario asks for
  ok      when none of this applies

in this order, and only ok counts as passed. Whether messages fit the schema (wire-schema-...) proves nothing
alone: that check passes even when nobody but the suite spoke.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Check = dict[str, Any]

# What an answer says when the fixture really did what it was asked for.
PROOFS = {
    "tools-call-simple-text": "This is a simple text response for testing.",
    "tools-call-error": "This tool intentionally returns an error for testing",
    "tools-call-sampling": "LLM response: ",
    "tools-call-elicitation": "User response: action=accept",
    "input-required-result-basic-elicitation": "Hello, ",
    "input-required-result-ignore-extra-params": "Hello, ",
    "input-required-result-request-state": "state-ok",
}
LISTS = {"tools-list": "toolCount", "resources-list": "resourceCount", "prompts-list": "promptCount"}
# The check a scenario is about: this one is only a remark when the stream was not closed half-way.
ESSENTIALS = {"server-sse-polling": "server-sse-disconnect-resume"}
# Scenarios which an error result satisfies rightly.
ERRORS_ALLOWED = {"tools-call-error", "input-required-result-validate-input"}


class IncompleteRunError(Exception):
    """Raised when the suite did not come to its end."""


@dataclass(frozen=True)
class Verdict:
    """What one scenario came to."""

    scenario: str
    word: str
    counts: Counter[str]
    reasons: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether the scenario counts as passed."""
        return self.word == "ok"

    def __str__(self) -> str:
        counts = " ".join(
            f"{name} {self.counts[status]:2}"
            for name, status in (
                ("pass", "SUCCESS"),
                ("fail", "FAILURE"),
                ("warn", "WARNING"),
                ("skip", "SKIPPED"),
            )
        )
        reasons = f" | {'; '.join(self.reasons)}" if self.reasons else ""
        return f"{self.word:6} {self.scenario:45} {counts}{reasons}"


def scenarios(log: str) -> list[str]:
    """Return the scenarios that ran, in their order."""
    announced = re.search(r"^Running \S+ suite \((\d+) scenarios\)", log, re.MULTILINE)
    ran = re.findall(r"^=== Running scenario: (\S+) ===", log, re.MULTILINE)
    if not announced or not re.search(r"^=== SUMMARY ===", log, re.MULTILINE):
        raise IncompleteRunError("the suite printed no summary")
    if not ran or len(ran) != int(announced[1]):
        raise IncompleteRunError(f"the suite announced {announced[1]} scenarios and ran {len(ran)}")
    return ran


def read_checks(results: Path) -> dict[str, list[Check]]:
    """Return the checks of every scenario that left some."""
    checks: dict[str, list[Check]] = {}
    for file in sorted(results.glob("server-*/checks.json")):
        if name := re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT.*", file.parent.name):
            checks[name[1]] = json.loads(file.read_text())
    return checks


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object inside a value, those written as a string included."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


def hollow(scenario: str, checks: list[Check]) -> str | None:
    """Return why a scenario that passed proves nothing, None when it does prove something."""
    passed = [check for check in checks if check["status"] in ("SUCCESS", "INFO")]
    found = [value for check in passed for value in objects(check.get("details"))]
    texts = [str(value["text"]) for value in found if "text" in value]
    if scenario not in ERRORS_ALLOWED and any(value.get("isError") is True for value in found):
        return f"answered with an error result: {texts}"
    if scenario in PROOFS and not any(PROOFS[scenario] in text for text in texts):
        return f"no answer says {PROOFS[scenario]!r}: {texts}"
    if scenario in LISTS and not any(value.get(LISTS[scenario]) for value in found):
        return "the list is empty"
    if scenario in ESSENTIALS and not any(
        check["id"] == ESSENTIALS[scenario] and check["status"] == "SUCCESS" for check in checks
    ):
        return f"{ESSENTIALS[scenario]} was not measured"
    return None


def judge(scenario: str, checks: list[Check]) -> Verdict:
    """Return the verdict on one scenario."""
    counts = Counter(check["status"] for check in checks)

    def verdict(word: str, *reasons: str) -> Verdict:
        return Verdict(scenario, word, counts, reasons)

    def named(status: str) -> list[str]:
        found = (check for check in checks if check["status"] == status)
        return [f"{check['id']}: {check.get('errorMessage') or ''}".rstrip(": ") for check in found]

    if not checks:
        return verdict("FAIL", "no checks: the scenario threw or ran out of time")
    if failed := named("FAILURE"):
        return verdict("FAIL", *failed)
    if warned := named("WARNING"):
        return verdict("WARN", *warned)
    if skipped := named("SKIPPED"):
        return verdict("SKIP", *skipped)
    if all(check["status"] != "SUCCESS" or check["id"].startswith("wire-schema-") for check in checks):
        informed = named("INFO")
        return verdict("SKIP", *informed) if informed else verdict("FAIL", "nothing was measured")
    if reason := hollow(scenario, checks):
        return verdict("HOLLOW", reason)
    return verdict("ok")


def total(spec: str, verdicts: list[Verdict]) -> str:
    """Return the line that closes the report on one specification version."""
    words = Counter(verdict.word for verdict in verdicts)
    checks = sum((verdict.counts for verdict in verdicts), Counter[str]())
    others = "".join(f", {words[word]} {word}" for word in ("FAIL", "HOLLOW", "WARN", "SKIP") if words[word])
    scenarios_passed = f"{words['ok']}/{len(verdicts)} scenarios passed{others}"
    return f"TOTAL {spec}: {scenarios_passed}; {checks['SUCCESS']} checks passed"
