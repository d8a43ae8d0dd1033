"""Traffic that is expected: the schedule of KEDA's cron scaler, in which more nodes run."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

__all__ = ["Schedule", "aws_expression", "cron_fault"]


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """Names for the numbers, from `low` on."""


# KEDA parses with robfig/cron, whose Sunday is 0 and not 7.
_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("day of the week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_EXPECTED: Final = 'expected five fields, minute hour day month weekday, such as "0 8 * * 1-5"'
_ITEM: Final = re.compile(r"(\*|\?|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]+))?", re.ASCII | re.IGNORECASE)


class Schedule(NamedTuple):
    """From `start` to `end`, two cron expressions, `replicas` nodes run at least."""

    start: str
    end: str
    timezone: str
    replicas: int

    @property
    def is_set(self) -> bool:
        """Return whether there is a schedule."""
        return bool(self.start or self.end or self.replicas)

    def fault(self, low: int, high: int) -> str:
        """Return what is wrong with the options, of which the message names one; `low` to `high` nodes can run."""
        if not self.is_set:
            return ""
        for name, value in (("start", self.start), ("end", self.end)):
            if fault := cron_fault(value):
                return f"--cron-{name}: {fault}"
        if self.start.split() == self.end.split():
            return f"--cron-end: must differ from --cron-start, got {self.end!r} twice"
        if not _is_timezone(self.timezone):
            return f"--cron-timezone: expected the name of a time zone such as Europe/Berlin, got {self.timezone!r}"
        if not low <= self.replicas <= high:
            limits = f"from --min-replicas, {low}, to --max-replicas, {high}"
            return f"--cron-replicas: expected a number {limits}, got {self.replicas}"
        return ""


def cron_fault(expression: str) -> str:
    """Return what is wrong with a cron expression, or an empty string."""
    values = expression.split(" ")
    if len(values) != len(_FIELDS):
        return f"{_EXPECTED}, got {expression!r}"
    for field, value in zip(_FIELDS, values, strict=True):
        if not all(_is_item(field, item) for item in value.split(",")):
            names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
            expected = f"*, numbers from {field.low} to {field.high}{names}, ranges such as a-b, steps such as */n"
            return f"the {field.name} must be {expected}, comma-separated, got {value!r} in {expression!r}"
    return ""


def aws_expression(expression: str) -> str:
    """Return a cron expression in the form of Application Auto Scaling.

    Raises: ValueError: it restricts the day of the month and the day of the week, of which AWS takes one.
    """
    minute, hour, day, month, weekday = expression.lower().replace("?", "*").split(" ")
    if day != "*" and weekday != "*":
        raise ValueError(f"AWS takes a day of the month or a day of the week, not both, got {expression!r}")
    if weekday == "*":
        day, weekday = _aws_field(_FIELDS[2], day), "?"
    else:
        day, weekday = "?", _aws_weekdays(weekday)
    rest = [_aws_field(field, value) for field, value in zip(_FIELDS[:2], (minute, hour), strict=True)]
    return f"cron({' '.join([*rest, day, _aws_field(_FIELDS[3], month).upper(), weekday, '*'])})"


def _aws_field(field: _Field, value: str) -> str:
    """Return the value with steps that have a start: AWS knows no `*/n`."""
    return re.sub(r"\*/", f"{field.low}/", value)


def _aws_weekdays(value: str) -> str:
    """Return the names of the days: their numbers differ, 0 to 6 here and 1 to 7 at AWS."""
    days, weekday = set[int](), _FIELDS[4]
    for start, end, step in (match.groups() for item in value.split(",") if (match := _ITEM.fullmatch(item))):
        first = weekday.low if start == "*" else _number(weekday, start)
        last = weekday.high if start == "*" or (step and not end) else _number(weekday, end or start)
        days.update(range(first, last + 1, int(step or 1)))
    return ",".join(_FIELDS[4].names[day].upper() for day in sorted(days))


def _is_item(field: _Field, item: str) -> bool:
    if (match := _ITEM.fullmatch(item)) is None:
        return False
    first, last, step = match.groups()
    if step is not None and int(step) == 0:
        return False
    if first in ("*", "?"):
        return last is None
    numbers = [_number(field, text) for text in (first, last) if text is not None]
    return all(field.low <= number <= field.high for number in numbers) and numbers == sorted(numbers)


def _number(field: _Field, text: str) -> int:
    """Return the number of a name or of digits; -1 for anything else."""
    if text.lower() in field.names:
        return field.low + field.names.index(text.lower())
    return int(text) if text.isdecimal() else -1


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # an unknown name, a folder, a path
        return False
    return True
