"""The result of one rule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mcp_transport.doctor.fixes import FIXES

__all__ = ["Finding", "Status", "ok", "problem", "unknown", "warning"]


class Status(StrEnum):
    """The status of a finding; the command fails if there is a `PROBLEM`."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one rule: what was observed, what was expected, and configuration lines that fix it."""

    id: str
    status: Status
    observed: str
    expected: str = ""
    fix: tuple[str, ...] = ()


def ok(id: str, observed: str) -> Finding:
    """Return a finding without a fault."""
    return Finding(id, Status.OK, observed)


def unknown(id: str, reason: str) -> Finding:
    """Return a finding for something that could not be observed."""
    return Finding(id, Status.UNKNOWN, reason)


def warning(id: str, observed: str, expected: str, *, fix: str = "") -> Finding:
    """Return a finding that works now and may fail later; `fix` is a key of `FIXES`, by default `id`."""
    return Finding(id, Status.WARNING, observed, expected, FIXES[fix or id])


def problem(id: str, observed: str, expected: str, *, fix: str = "") -> Finding:
    """Return a finding that breaks clients; `fix` as for `warning`."""
    return Finding(id, Status.PROBLEM, observed, expected, FIXES[fix or id])
