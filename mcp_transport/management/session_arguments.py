"""The verbs and options of `manage.py mcp_sessions`, and the types of their values."""

from __future__ import annotations

import argparse
import json
import re
import time
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils.dateparse import parse_datetime

from mcp_transport.domain.session_query import ORDERS, State
from mcp_transport.management.argument_types import whole_number
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = ["add_verbs", "ago", "instant", "request_id"]

_ID: Final = "short session ID, as `list` prints it, or its beginning"
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_MAX_QUOTED_CHARACTERS: Final = 40
_MAX_LISTED: Final = 100_000


def add_verbs(parser: CommandParser) -> None:
    """Add all verbs with their options."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("list", help="list sessions, most recently used first")
    _add_filters(listing)
    show = verbs.add_parser("show", help="show one session with its calls, streams and history")
    show.add_argument("id", help=_ID)
    show.add_argument("--payloads", action="store_true", help="include messages and arguments of failed calls")
    end = verbs.add_parser("end", help="end sessions: their clients must reconnect")
    end.add_argument("ids", nargs="+", metavar="id", help=_ID)
    cancel = verbs.add_parser("cancel", help="cancel a running call of a session")
    cancel.add_argument("id", help=_ID)
    cancel.add_argument("request_id", type=request_id, help="""the ID as JSON: 7, or '"7"'; other text is a string""")
    messages = verbs.add_parser("messages", help="show recent stream messages")
    messages.add_argument("id", help=_ID)
    messages.add_argument("--payloads", action="store_true", help="include the contents of messages")
    nodes = verbs.add_parser("nodes", help="list the live nodes")
    overview = verbs.add_parser("overview", help="show summary statistics")
    traffic = verbs.add_parser("traffic", help="show the traffic of the last minutes")
    reset = verbs.add_parser("reset-breaker", help="reset the circuit breaker of a tool on every node")
    reset.add_argument("tool", help="name of the tool")
    for verb in (listing, show, messages, nodes, overview, traffic):
        verb.add_argument("--json", action="store_true", help="print JSON, in the format of the REST API")


def _add_filters(listing: CommandParser) -> None:
    orders = [sign + name for name in ORDERS for sign in ("-", "")]
    limit, descending = whole_number(1, _MAX_LISTED), "with `-`, as in --order=-errors, in descending order"
    listing.add_argument("--limit", type=limit, default=100, help="maximum number of sessions (default %(default)s)")
    listing.add_argument("--order", choices=orders, default="-last_seen", help=descending)
    listing.add_argument(
        "--search",
        default="",
        help="part of a user or client, or prefix of an IP address or session ID",
    )
    listing.add_argument("--user", default="", help="filter by user")
    listing.add_argument("--client", default="", help="filter by client: name and version, as listed")
    listing.add_argument("--protocol", default="", help="filter by protocol revision")
    listing.add_argument("--node", default="", help="filter by the node that served the last request")
    listing.add_argument("--state", choices=[state.value for state in State], default="", help="filter by state")
    after, before = listing.add_mutually_exclusive_group(), listing.add_mutually_exclusive_group()
    after.add_argument("--created-after", type=instant, default=0.0, help="ISO 8601 time with an offset")
    after.add_argument("--newer-than", type=ago, dest="created_after", default=0.0, help="such as 90s, 15m, 1h, 2d")
    before.add_argument("--created-before", type=instant, default=0.0, help="ISO 8601 time with an offset")
    before.add_argument("--older-than", type=ago, dest="created_before", default=0.0, help="such as 90s, 15m, 1h, 2d")


def ago(text: str) -> float:
    """Parse a duration; return the time that long ago. Raises: ArgumentTypeError."""
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected a duration such as 90s, 15m, 1h, 2d or 1w, got {_quoted(text)}")
    return time.time() - int(match[1]) * _UNIT_SECONDS[match[2]]


def instant(text: str) -> float:
    """Parse a time. Raises: ArgumentTypeError."""
    try:
        value = parse_datetime(text)
    except ValueError:
        value = None
    if value is None or value.tzinfo is None:
        error = f"expected a time with its offset, such as 2026-01-31T12:00:00Z, got {_quoted(text)}"
        raise argparse.ArgumentTypeError(error)
    return value.timestamp()


def request_id(text: str) -> RequestId:
    """Parse the ID of a request. Raises: ArgumentTypeError."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if not is_request_id(value):
        advice = """put a string that is valid JSON into quotes, '"true"'"""
        raise argparse.ArgumentTypeError(f"expected a string or an integer, got {_quoted(text)}: {advice}")
    return value


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MAX_QUOTED_CHARACTERS else f"{text[:_MAX_QUOTED_CHARACTERS]}…")
