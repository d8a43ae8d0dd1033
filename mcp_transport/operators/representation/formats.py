"""The formats of times, durations, percentiles and sizes for operators."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.template.defaultfilters import filesizeformat, yesno
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

__all__ = [
    "duration",
    "exact_time",
    "iso_time",
    "local_datetime",
    "local_time",
    "milliseconds",
    "number",
    "percent",
    "pretty_json",
    "request_id_text",
    "seconds_ago",
    "size",
    "time_of_day",
    "utc_time",
    "yes_or_no",
]


def iso_time(seconds: float) -> str:
    """Format seconds since the epoch for JSON: ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def utc_time(seconds: float) -> str:
    """Format seconds since the epoch for a terminal, with the offset that `--created-after` requires."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""


def local_datetime(seconds: float) -> datetime | None:
    """Return the datetime that a template shows in the current time zone; None for 0."""
    if not seconds:
        return None
    value = datetime.fromtimestamp(seconds, UTC)
    return timezone.localtime(value) if settings.USE_TZ else timezone.make_naive(value)


def local_time(seconds: float) -> str:
    """Format seconds since the epoch for a page, in the current time zone and to the second."""
    value = local_datetime(seconds)
    return "" if value is None else f"{formats.date_format(value, 'SHORT_DATE_FORMAT')} {value:%H:%M:%S}"


def exact_time(seconds: float) -> str:
    """Format seconds since the epoch for a page, to the second and with the time zone."""
    value = local_datetime(seconds)
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S} {_zone(value)}".rstrip()


def time_of_day(seconds: float) -> str:
    """Format the time of a day, to the second and with the time zone."""
    value = local_datetime(seconds)
    return "" if value is None else f"{value:%H:%M:%S} {_zone(value)}".rstrip()


def _zone(value: datetime) -> str:
    """Return the name of a time zone, or its offset; empty if the project uses none."""
    return value.tzname() or f"{value:%z}"


def duration(seconds: float) -> str:
    """Format a duration as days, hours, minutes and seconds."""
    days, rest = divmod(max(0, int(seconds)), 86_400)
    time = str(timedelta(seconds=rest))
    if not days:
        return time
    return ngettext("%(count)d day, %(time)s", "%(count)d days, %(time)s", days) % {"count": days, "time": time}


def number(value: float, digits: int = 0) -> str:
    """Format a number, rounded to so many decimal places."""
    return formats.number_format(round(value, digits), digits)  # which truncates instead of rounding


def milliseconds(seconds: float) -> str:
    """Format a latency."""
    return _("%(count)s ms") % {"count": number(seconds * 1000, 1)}


def seconds_ago(seconds: float) -> str:
    """Format the age of a node's last heartbeat."""
    return _("%(count)s s ago") % {"count": number(seconds, 1)}


def percent(share: float) -> str:
    """Format a ratio between 0 and 1."""
    return f"{number(100 * share, 1)} %"


def size(count: int) -> str:
    """Format a number of bytes."""
    return filesizeformat(count)


def yes_or_no(value: bool) -> str:
    """Format a flag in the current language."""
    return str(yesno(value))


def request_id_text(request_id: Any) -> str:
    """Format the id of a request as JSON, which distinguishes 7 from "7"."""
    return json.dumps(request_id)


def pretty_json(value: Any) -> str:
    """Format JSON with indentation."""
    try:
        return json.dumps(value, indent=2)
    except RecursionError:  # a client may nest its capabilities to any depth
        return _("nested too deeply to be shown")
