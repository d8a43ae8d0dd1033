"""Cron expressions as KEDA reads them: robfig/cron's five fields."""

from __future__ import annotations

import pytest

from mcp_transport.deployment.cron import Schedule, cron_fault

RIGHT = [
    "0 8 * * 1-5",
    "*/15 6-20 * * *",
    "0,30 8 1,15 jan-MAR Mon-fri",
    "59 23 31 12 6",
    "0 0 ? * sun",
    "5/20 8-18/2 * * 0",
]
WRONG = {
    "": "five fields",
    "0 8 * *": "five fields",
    "0 8 * * 1 2026": "five fields",
    "0  8 * * 1": "five fields",
    "@daily": "five fields",
    "60 8 * * *": "the minute must",
    "-1 8 * * *": "the minute must",
    "0 24 * * *": "the hour must",
    "0 8 0 * *": "the day of the month must",
    "0 8 32 * *": "the day of the month must",
    "0 8 * 13 *": "the month must",
    "0 8 * * 7": "the day of the week must",
    "0 8 * * fri-mon": "the day of the week must",
    "0 8 * * 5-1": "the day of the week must",
    "0 8 * * 1,": "the day of the week must",
    "0 8 * * monday": "the day of the week must",
    "*/0 8 * * *": "the minute must",
    "*-5 8 * * *": "the minute must",
    "1-2-3 8 * * *": "the minute must",
    "\u0661 8 * * *": "the minute must",
}


@pytest.mark.parametrize("expression", RIGHT)
def test_a_right_expression_has_no_fault(expression: str) -> None:
    assert cron_fault(expression) == ""


@pytest.mark.parametrize(("expression", "problem"), WRONG.items())
def test_a_wrong_expression_is_explained(expression: str, problem: str) -> None:
    assert problem in cron_fault(expression)
    assert repr(expression) in cron_fault(expression)


@pytest.mark.parametrize("name", ["", "Europe", "europe/nowhere", "../etc/passwd", "/usr", "Europe/Berlin\n", "\0"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    assert Schedule("0 8 * * *", "0 9 * * *", name, 5).fault(3, 50).startswith("--cron-timezone: ")


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_a_time_zone_is_accepted(name: str) -> None:
    assert Schedule("0 8 * * *", "0 9 * * *", name, 5).fault(3, 50) == ""


def test_no_schedule_has_no_fault() -> None:
    assert Schedule("", "", "UTC", 0).fault(3, 50) == ""
