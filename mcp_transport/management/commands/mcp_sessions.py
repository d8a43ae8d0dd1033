"""List sessions, show one, end some, from the shell."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from typing import Any

from asgiref.sync import async_to_sync
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport import bootstrap, operations
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.search import SessionQuery
from mcp_transport.protocol.session import Session, short_id

_ROW = "{:10}  {:24}  {:10}  {:16}  {:19}  {:>8}  {:>6}"


class Command(BaseCommand):
    """Works on the session backend that the settings name."""

    help = "List the MCP sessions, show one, or end some."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="list sessions, last seen first")
        listing.add_argument("--limit", type=int, default=100)
        listing.add_argument("--json", action="store_true")
        listing.add_argument("--search", default="", help="the beginning of a user, a client, an address or an id")
        listing.add_argument("--user", default="", help="only this user's")
        listing.add_argument("--client", default="", help="only of this client, its name and version as listed")
        listing.add_argument("--protocol", default="", help="only of this protocol revision")
        listing.add_argument("--node", default="", help="only those that this node has served last")
        show = verbs.add_parser("show", help="print what is known of a session")
        show.add_argument("id", help="the short id that `list` prints")
        end = verbs.add_parser("end", help="end sessions: their clients have to begin anew")
        end.add_argument("ids", nargs="+", metavar="id")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        backend = bootstrap.endpoint().backend
        if not (backend.supports_listing and backend.shares_sessions):
            raise CommandError(
                f"The {bootstrap.backend_name()!r} backend keeps sessions where no other process sees them. "
                "Use a cache that processes share: MCP_TRANSPORT['CACHE']."
            )
        try:
            async_to_sync(getattr(self, f"_{verb}"))(**options)
        except (BackendError, LookupError) as error:
            raise CommandError(str(error)) from error

    async def _list(self, *, limit: int, search: str, protocol: str, **options: Any) -> None:
        exact = {name: options[name] for name in ("user", "client", "node")}
        query = SessionQuery(text=search, protocol_version=protocol, **exact)
        page = await operations.sessions(0, limit, query)
        if options["json"]:
            self.stdout.write(json.dumps([_public(session) for session in page.sessions], indent=2))
            return
        self.stdout.write(_ROW.format("id", "client", "protocol", "user", "last seen", "requests", "errors"))
        for session in page.sessions:
            self.stdout.write(_row(session))
        self.stdout.write(f"{len(page.sessions)} of {'' if page.is_exact else 'about '}{page.total} sessions")

    async def _show(self, *, id: str, **options: Any) -> None:
        self.stdout.write(json.dumps(_public(await operations.find_session(id)), indent=2))

    async def _end(self, *, ids: list[str], **options: Any) -> None:
        for session in [await operations.find_session(id) for id in ids]:
            await operations.end_session(session.key)
            self.stdout.write(f"ended {short_id(session.key)}")


def _public(session: Session) -> dict[str, Any]:
    """Return a session's record under its short id, with times for people."""
    members = {"id": short_id(session.key), **asdict(session)}
    del members["key"]
    return members | {name: _time(members[name]) for name in ("created", "last_seen", "ends")}


def _row(session: Session) -> str:
    client = f"{session.client_info.get('name', '')} {session.client_info.get('version', '')}"
    return _ROW.format(
        short_id(session.key),
        client[:24],
        session.protocol_version,
        (session.user or "-")[:16],
        _time(session.last_seen)[:19],
        session.requests,
        session.errors,
    )


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
