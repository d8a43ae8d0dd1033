"""The columns of the session list."""

from __future__ import annotations

import json
from typing import Final

from mcp_transport.operators.representation.fields import pick
from mcp_transport.operators.representation.kinds import COUNT
from mcp_transport.operators.representation.sessions import SESSION
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = ["LIST_COLUMNS", "NUMERIC", "parse_request_id"]

LIST_COLUMNS: Final = pick(
    SESSION,
    *("id", "state", "client", "user", "last_seen", "requests", "errors", "calls", "streams"),
    *("node", "created", "protocol"),
)
NUMERIC: Final = frozenset(column.name for column in LIST_COLUMNS if column.kind is COUNT)
"""The names of the columns of numbers."""


def parse_request_id(text: str) -> RequestId | None:
    """Return the request id that a button's form field contains as JSON; None if it is malformed."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if is_request_id(value) else None
