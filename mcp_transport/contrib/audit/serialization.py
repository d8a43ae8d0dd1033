"""What is stored of an event; a client's words are made to fit, and never refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from mcp_transport.domain.audit_events import AccessDenied, AuditEvent, SessionClosed, SessionOpened, ToolCalled

__all__ = ["MAX_ARGUMENT_BYTES", "values_of", "words", "written"]

MAX_ARGUMENT_BYTES: Final = 16 * 1024
"""How long arguments may be as JSON; of longer ones nothing is kept but their length."""

# MySQL refuses a document of more than 100 levels, SQLite one of more than 1000.
_MOST_LEVELS: Final = 50

# PostgreSQL stores no NUL, and no database half a character.
_UNWRITABLE: Final = re.compile("[\x00\ud800-\udfff]")


def values_of(event: AuditEvent) -> dict[str, Any]:
    """Return an event's values by the names of the columns, texts of any length."""
    principal = event.principal
    common = {
        "when": _moment(event.when),
        "issuer": principal.issuer,
        "subject": principal.subject,
        "user": principal.name,
    }
    return {**common, **_own_values(event)}


def _own_values(event: AuditEvent) -> dict[str, Any]:
    match event:
        case SessionOpened():
            own = {"session": event.session, "address": event.address, "client": event.client}
            return {"event": "session_opened", **own}
        case SessionClosed():
            return {"event": "session_closed", "session": event.session, "outcome": event.reason}
        case ToolCalled():
            return {
                "event": "tool_called",
                "session": event.session,
                "address": event.address,
                "operation": "tools/call",
                "name": event.tool,
                "outcome": event.outcome,
                "seconds": round(event.seconds, 6),
                "arguments": written(event.arguments),
            }
        case AccessDenied():
            return {
                "event": "access_denied",
                "address": event.address,
                "operation": event.operation,
                "name": event.name,
                "reason": event.reason,
            }


def words(text: str, longest: int) -> str:
    """Return a text that is one line of `longest` characters at most; what cannot be printed is escaped."""
    if len(text) <= longest and text.isprintable():
        return text
    kept = "".join(_escaped(character) for character in text[: longest + 1])
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def written(arguments: Any) -> Any:
    """Return arguments as a column of JSON takes them; a note where it would not."""
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        size = len(text.encode(errors="surrogatepass"))
        if size > MAX_ARGUMENT_BYTES:
            return f"not recorded: {size} bytes"
        return _writable(arguments, _MOST_LEVELS)
    except (TypeError, ValueError, RecursionError):
        return "not recorded: they cannot be stored as JSON"


def _writable(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return _UNWRITABLE.sub(lambda found: _escaped(found[0]), value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if not levels:
        raise ValueError("nested too deep")
    if isinstance(value, Mapping):
        return {_writable(name, levels): _writable(item, levels - 1) for name, item in value.items()}
    return [_writable(item, levels - 1) for item in value]


def _escaped(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def _moment(when: float) -> datetime:
    moment = datetime.fromtimestamp(when, UTC)
    return moment if settings.USE_TZ else timezone.make_naive(moment)
