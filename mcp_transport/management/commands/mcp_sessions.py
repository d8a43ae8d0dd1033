"""List sessions, look into one, end some, from the shell."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport import bootstrap
from mcp_transport.domain.session import Session, short_id
from mcp_transport.domain.session_query import SessionQuery, state_of
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.exceptions import BackendError
from mcp_transport.management import text_tables as text
from mcp_transport.management.session_arguments import add_verbs
from mcp_transport.operators import service
from mcp_transport.operators.metric_records import node_record, overview_record, traffic_record
from mcp_transport.operators.session_records import activity_record, message_record
from mcp_transport.protocol.jsonrpc import RequestId

# What is in one process, unless the backend shares streams.
_OF_PROCESSES: Final = ("cancel", "messages", "nodes", "traffic")


class Command(BaseCommand):
    """Works on the session backend that the settings name."""

    help = "List the MCP sessions, look into one, end some, and sum up what goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        add_verbs(parser)

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        try:
            _require_shared(verb)
            async_to_sync(getattr(self, f"_{verb}"))(**options)
        except (BackendError, ImproperlyConfigured, LookupError) as error:
            raise CommandError(str(error)) from error

    async def _list(self, *, limit: int, order: str, search: str, protocol: str, **options: Any) -> None:
        same = ("user", "client", "node", "state", "created_after", "created_before")
        query = SessionQuery(text=search, protocol_version=protocol, **{name: options[name] for name in same})
        page = await service.sessions(0, limit, query, order)
        self._print(options, [_public(session) for session in page.sessions], text.session_lines(page))

    async def _show(self, *, id: str, **options: Any) -> None:
        key = (await service.find_session(id)).key
        found = await service.look_into(key)
        if found is None:
            raise _ended(key)
        session = replace(found.session, calls=len(found.flights))
        is_whole = bootstrap.endpoint().backend.shares_streams
        record = _public(session) | activity_record(found) | {"all_processes": is_whole}
        self._print(options, record, text.detail_lines(found, is_whole=is_whole))

    async def _end(self, *, ids: list[str], **options: Any) -> None:
        for session in [await service.find_session(id) for id in ids]:
            await service.end_session(session.key)
            self.stdout.write(f"ended {short_id(session.key)}")

    async def _cancel(self, *, id: str, request_id: RequestId, **options: Any) -> None:
        key, name = (await service.find_session(id)).key, json.dumps(request_id)
        if not await service.cancel_call(key, request_id):
            raise CommandError(
                f"No call {name} runs in session {short_id(key)}. `show` lists those that do; "
                'the string "7" and the number 7 are two.'
            )
        self.stdout.write(f"cancelled {name} of {short_id(key)}")

    async def _messages(self, *, id: str, payloads: bool, **options: Any) -> None:
        messages = await _all_messages((await service.find_session(id)).key)
        records = [message_record(message, payloads=payloads) for message in messages]
        self._print(options, records, text.message_lines(messages, payloads=payloads))

    async def _nodes(self, **options: Any) -> None:
        nodes = await service.nodes()
        self._print(options, [node_record(node) for node in nodes], text.node_lines(nodes))

    async def _overview(self, **options: Any) -> None:
        known = await service.overview()
        self._print(options, overview_record(known, all_processes=True), text.overview_lines(known))

    async def _traffic(self, **options: Any) -> None:
        traffic = await service.traffic()
        self._print(options, traffic_record(traffic, all_processes=True), text.traffic_lines(traffic))

    def _print(self, options: dict[str, Any], value: Any, lines: Iterable[str]) -> None:
        for line in [json.dumps(value, indent=2)] if options["json"] else lines:
            self.stdout.write(line)


def _require_shared(verb: str) -> None:
    """Raise CommandError where this process cannot see what a verb is about."""
    backend, name = bootstrap.endpoint().backend, bootstrap.backend_name()
    if not (backend.supports_listing and backend.shares_sessions):
        raise CommandError(
            f"The {name!r} backend keeps sessions where no other process sees them. "
            "Use a cache that processes share: MCP_TRANSPORT['CACHE']."
        )
    if verb in _OF_PROCESSES and not backend.shares_streams:
        raise CommandError(
            f"The {name!r} backend keeps calls, streams and what is counted in each server process, where no other "
            "process sees them. Use a cache that is Redis, so that the backend is 'redis'."
        )


async def _all_messages(key: str) -> list[StreamMessage]:
    """Return what is kept of a session's streams. Raises: LookupError, BackendError."""
    found, cursor = list[StreamMessage](), dict[str, int]()
    while news := await service.new_messages(key, cursor):
        if not news.messages:
            return found
        found += news.messages
        cursor = dict(news.cursor)
    raise _ended(key)


def _ended(key: str) -> LookupError:
    return LookupError(f"Session {short_id(key)} is over.")


def _public(session: Session) -> dict[str, Any]:
    """Return a session's record under its short id, with times for people."""
    members = {"id": short_id(session.key), **asdict(session), "state": state_of(session, time.time())}
    del members["key"]
    return members | {name: text.moment(members[name]) for name in ("created", "last_seen", "ends")}
