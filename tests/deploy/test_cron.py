"""Cron expressions as KEDA reads them: robfig/cron's five fields."""

from __future__ import annotations

import pytest

from mcp_transport.deployment.cron import Schedule, aws_expression, cron_fault

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


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 8 * * *", "cron(0 8 * * ? *)"),
        ("0 8 * * 1-5", "cron(0 8 ? * MON,TUE,WED,THU,FRI *)"),
        ("*/15 6-20/2 * * *", "cron(0/15 6-20/2 * * ? *)"),
        ("0,30 8 1,15 jan-MAR *", "cron(0,30 8 1,15 JAN-MAR ? *)"),
        ("0 0 */10 */3 ?", "cron(0 0 1/10 1/3 ? *)"),
        ("59 23 ? 12 sun,6", "cron(59 23 ? 12 SUN,SAT *)"),
        ("0 8 * * */2", "cron(0 8 ? * SUN,TUE,THU,SAT *)"),
        ("0 8 * * 2/3", "cron(0 8 ? * TUE,FRI *)"),
        ("0 8 * * Mon-fri/2", "cron(0 8 ? * MON,WED,FRI *)"),
    ],
)
def test_aws_has_its_own_form(expression: str, expected: str) -> None:
    assert cron_fault(expression) == ""
    assert aws_expression(expression) == expected


def test_aws_takes_one_kind_of_day() -> None:
    with pytest.raises(ValueError, match="a day of the month or a day of the week, not both, got '0 8 1 \\* mon'"):
        aws_expression("0 8 1 * mon")
