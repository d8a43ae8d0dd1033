"""The column values of an event; values from a client are made storable and never rejected."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from mcp_transport.domain.audit_events import AccessDenied, AuditEvent, SessionClosed, SessionOpened, ToolCalled

__all__ = ["MAX_ARGUMENT_BYTES", "single_line", "storable_arguments", "values_of"]

MAX_ARGUMENT_BYTES: Final = 16 * 1024
"""The maximum length of arguments as JSON; only the length of longer ones is stored."""

_MAX_CODE: Final = 2**31  # tools choose codes of their own

# MySQL rejects documents of more than 100 levels, SQLite those of more than 1000.
_MAX_DEPTH: Final = 50

# PostgreSQL cannot store NUL, and no database a lone surrogate.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


# The name of each kind of event, and its fields whose columns have other names.
_EVENTS: Final[Mapping[type[AuditEvent], tuple[str, Mapping[str, str]]]] = {
    SessionOpened: ("session_opened", {}),
    SessionClosed: ("session_closed", {"reason": "outcome"}),
    ToolCalled: ("tool_called", {"tool": "name"}),
    AccessDenied: ("access_denied", {}),
}


def values_of(event: AuditEvent) -> dict[str, Any]:
    """Return the values of an event by column name; strings are not truncated yet."""
    name, columns = _EVENTS[type(event)]
    values = {columns.get(field.name, field.name): getattr(event, field.name) for field in fields(event)}
    principal = values.pop("principal")
    values |= {"issuer": principal.issuer, "subject": principal.subject, "user": principal.name}
    if isinstance(event, ToolCalled):
        arguments = storable_arguments(event.arguments)
        values |= {"operation": "tools/call", "seconds": round(event.seconds, 6), "arguments": arguments}
        values["code"] = event.code if event.code is not None and abs(event.code) < _MAX_CODE else None
    return {**values, "event": name, "when": _datetime(event.when)}


def single_line(text: str, max_length: int) -> str:
    """Return a text as one line of at most `max_length` characters, with unprintable characters escaped."""
    if len(text) <= max_length and text.isprintable():
        return text
    escaped = "".join(_escaped(character) for character in text[: max_length + 1])
    return escaped if len(escaped) <= max_length else f"{escaped[: max_length - 1]}…"


def storable_arguments(arguments: Any) -> Any:
    """Return arguments in a form that a JSON column accepts, or a note if there is none."""
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        size = len(text.encode(errors="surrogatepass"))
        if size > MAX_ARGUMENT_BYTES:
            return f"not recorded: {size} bytes"
        return _storable(arguments, _MAX_DEPTH)
    except (TypeError, ValueError, RecursionError):
        return "not recorded: they cannot be stored as JSON"


def _storable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub(lambda match: _escaped(match[0]), value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if not depth:
        raise ValueError("nested too deep")
    if isinstance(value, Mapping):
        return {_storable(name, depth): _storable(item, depth - 1) for name, item in value.items()}
    return [_storable(item, depth - 1) for item in value]


def _escaped(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def _datetime(when: float) -> datetime:
    value = datetime.fromtimestamp(when, UTC)
    return value if settings.USE_TZ else timezone.make_naive(value)
