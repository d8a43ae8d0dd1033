"""The rows of the session list, as text."""

from __future__ import annotations

import json
from typing import Any, Final

from mcp_transport.domain.session import Session, short_id
from mcp_transport.domain.session_query import client_of
from mcp_transport.operators.representation.fields import pick
from mcp_transport.operators.representation.formats import local_datetime
from mcp_transport.operators.representation.kinds import TIME
from mcp_transport.operators.representation.sessions import SESSION
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = ["LIST_COLUMNS", "parse_request_id", "session_row"]

LIST_COLUMNS: Final = pick(
    SESSION,
    *("id", "client", "protocol", "user", "node", "created", "last_seen", "requests", "errors"),
    *("streams", "calls", "state"),
)


def session_row(session: Session) -> dict[str, Any]:
    """Return a row of the list, and what the confirmation page shows."""
    cells = [
        {
            "name": column.name,
            "text": column.text(session),
            "moment": local_datetime(column.read(session)) if column.kind is TIME else None,
        }
        for column in LIST_COLUMNS
    ]
    return {
        "id": short_id(session.key),
        "key": session.key,
        "client": client_of(session),
        "user": session.user,
        "calls": session.calls,
        "cells": cells,
    }


def parse_request_id(text: str) -> RequestId | None:
    """Return the request id that a button's form field contains as JSON; None if it is malformed."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if is_request_id(value) else None
