"""What the doctor says of one thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mcp_transport.doctor.fixes import FIXES

__all__ = ["Finding", "Status", "ok", "problem", "unknown", "warning"]


class Status(StrEnum):
    """How it is; the order is that of the exit: one problem is enough."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was seen, what was expected, and which line of which file mends it."""

    id: str
    status: Status
    seen: str
    expected: str = ""
    fix: tuple[str, ...] = ()


def ok(id: str, seen: str) -> Finding:
    """Say that it is as it should be."""
    return Finding(id, Status.OK, seen)


def unknown(id: str, reason: str) -> Finding:
    """Say that it could not be seen, and why."""
    return Finding(id, Status.UNKNOWN, reason)


def warning(id: str, seen: str, expected: str, *, fix: str = "") -> Finding:
    """Say that it works, and what may hurt later; `fix` names the lines that mend it, those of `id` without it."""
    return Finding(id, Status.WARNING, seen, expected, FIXES[fix or id])


def problem(id: str, seen: str, expected: str, *, fix: str = "") -> Finding:
    """Say that it is broken; `fix` as for `warning`."""
    return Finding(id, Status.PROBLEM, seen, expected, FIXES[fix or id])
