"""The findings as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from mcp_transport.doctor.findings import Finding, Status

__all__ = ["Paint", "as_json", "lines", "printable"]

_MAX_TEXT_CHARACTERS: Final = 300


def printable(text: str, secrets: Sequence[str] = ()) -> str:
    """Remove secrets and control characters from a text that may come from the server."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return "".join(character if character.isprintable() else "?" for character in text)[:_MAX_TEXT_CHARACTERS]


Paint = Callable[[Status, str], str]


def lines(url: str, findings: Sequence[Finding], paint: Paint = lambda status, text: text) -> Iterator[str]:
    """Yield the text report: a line for each finding, and below it what was expected and how to fix it."""
    yield from (f"MCP endpoint {printable(url)}", "")
    width = max(len(finding.id) for finding in findings)
    for finding in findings:
        label = paint(finding.status, f"{_label(finding.status):8}")
        yield f"{label} {finding.id:{width}}  {finding.observed}"
        indent = " " * (9 + width + 2)
        if finding.expected:
            yield f"{indent}expected: {finding.expected}"
        yield from (f"{indent}fix: {line}" for line in finding.fix)
    counts = Counter(finding.status for finding in findings)
    yield from ("", ", ".join(_counted(counts[status], status) for status in Status))


def _counted(count: int, status: Status) -> str:
    is_noun = status in (Status.WARNING, Status.PROBLEM)
    return f"{count} {status}{'s' if is_noun and count != 1 else ''}"


def _label(status: Status) -> str:
    return status.upper() if status is Status.PROBLEM else status


def as_json(url: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the report as a JSON object."""
    has_problem = any(finding.status is Status.PROBLEM for finding in findings)
    return {"url": url, "problem": has_problem, "findings": [_as_json(finding) for finding in findings]}


def _as_json(finding: Finding) -> dict[str, Any]:
    return {("seen" if name == "observed" else name): value for name, value in asdict(finding).items()}
