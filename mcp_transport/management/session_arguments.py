"""The words of `manage.py mcp_sessions`: its verbs and options, and how their values are read."""

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

_ID: Final = "the short id that `list` prints, or how it begins"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_LONGEST: Final = 40
_MOST_LISTED: Final = 100_000


def add_verbs(parser: CommandParser) -> None:
    """Add all verbs with their options."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("list", help="list sessions, last seen first")
    _add_filters(listing)
    show = verbs.add_parser("show", help="print what is known of a session")
    show.add_argument("id", help=_ID)
    end = verbs.add_parser("end", help="end sessions: their clients have to begin anew")
    end.add_argument("ids", nargs="+", metavar="id", help=_ID)
    cancel = verbs.add_parser("cancel", help="cancel a call of a session, as its client could")
    cancel.add_argument("id", help=_ID)
    cancel.add_argument("request_id", type=request_id, help="""as JSON: 7, or '"7"'; other text is a string""")
    messages = verbs.add_parser("messages", help="print what a session's streams have had")
    messages.add_argument("id", help=_ID)
    messages.add_argument("--payloads", action="store_true", help="print the messages themselves, too")
    nodes = verbs.add_parser("nodes", help="list the living nodes")
    overview = verbs.add_parser("overview", help="sum all sessions up")
    traffic = verbs.add_parser("traffic", help="print the traffic of the last minutes")
    for verb in (listing, show, messages, nodes, overview, traffic):
        verb.add_argument("--json", action="store_true")


def _add_filters(listing: CommandParser) -> None:
    orders = [sign + name for name in ORDERS for sign in ("-", "")]
    listing.add_argument(
        "--limit", type=whole_number(1, _MOST_LISTED), default=100, help="how many at most (default %(default)s)"
    )
    listing.add_argument(
        "--order", choices=orders, default="-last_seen", help="with `-`, as in --order=-errors, the greatest first"
    )
    listing.add_argument("--search", default="", help="the beginning of a user, a client, an address or an id")
    listing.add_argument("--user", default="", help="only this user's")
    listing.add_argument("--client", default="", help="only of this client, its name and version as listed")
    listing.add_argument("--protocol", default="", help="only of this protocol revision")
    listing.add_argument("--node", default="", help="only those that this node has served last")
    listing.add_argument("--state", choices=list(State), default="", help="only those that are at this")
    after, before = listing.add_mutually_exclusive_group(), listing.add_mutually_exclusive_group()
    after.add_argument("--created-after", type=instant, default=0.0, help="ISO 8601, with an offset")
    after.add_argument("--newer-than", type=ago, dest="created_after", default=0.0, help="such as 90s, 15m, 1h, 2d")
    before.add_argument("--created-before", type=instant, default=0.0, help="ISO 8601, with an offset")
    before.add_argument("--older-than", type=ago, dest="created_before", default=0.0, help="such as 90s, 15m, 1h, 2d")


def ago(text: str) -> float:
    """Read a duration, and return the time so long before now. Raises: ArgumentTypeError."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a duration such as 90s, 15m, 1h, 2d or 1w, got {_quoted(text)}")
    return time.time() - int(found[1]) * _UNITS[found[2]]


def instant(text: str) -> float:
    """Read a time. Raises: ArgumentTypeError."""
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        wrong = f"expected a time with its offset, such as 2026-01-31T12:00:00Z, got {_quoted(text)}"
        raise argparse.ArgumentTypeError(wrong)
    return found.timestamp()


def request_id(text: str) -> RequestId:
    """Read the id of a request. Raises: ArgumentTypeError."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if not is_request_id(value):
        advice = """put a string that is JSON into quotes, '"true"'"""
        raise argparse.ArgumentTypeError(f"expected a string or an integer, got {_quoted(text)}: {advice}")
    return value


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
