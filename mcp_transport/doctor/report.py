"""Findings as text for people and as a record for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from mcp_transport.doctor.findings import Finding, Status

__all__ = ["lines", "plain", "record"]

_LONGEST: Final = 300


def plain(text: str, secrets: Sequence[str] = ()) -> str:
    """Write a text without secrets, and without what a terminal obeys: servers say what they like."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return "".join(character if character.isprintable() else "?" for character in text)[:_LONGEST]


def lines(url: str, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the report: a line for each finding, and below those that matter what mends them."""
    yield from (f"MCP endpoint {plain(url)}", "")
    width = max(len(finding.id) for finding in findings)
    for finding in findings:
        yield f"{_word(finding.status):8} {finding.id:{width}}  {finding.seen}"
        indent = " " * (9 + width + 2)
        if finding.expected:
            yield f"{indent}expected: {finding.expected}"
        yield from (f"{indent}fix: {line}" for line in finding.fix)
    counted = Counter(finding.status for finding in findings)
    yield from ("", ", ".join(f"{counted[status]} {status}" for status in Status))


def _word(status: Status) -> str:
    return status.upper() if status is Status.PROBLEM else status


def record(url: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the report as a JSON object."""
    has_problem = any(finding.status is Status.PROBLEM for finding in findings)
    return {"url": url, "problem": has_problem, "findings": [asdict(finding) for finding in findings]}
