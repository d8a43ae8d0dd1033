"""List, show and end sessions from the shell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations

from mcp_transport import bootstrap
from mcp_transport.domain.session import short_id
from mcp_transport.domain.session_query import SessionQuery
from mcp_transport.domain.stream_messages import StreamMessage
from mcp_transport.exceptions import BackendError
from mcp_transport.management import text_tables as text
from mcp_transport.management.session_arguments import add_verbs
from mcp_transport.management.terminal import write_result
from mcp_transport.operators import service
from mcp_transport.operators.representation.fields import to_json
from mcp_transport.operators.representation.metrics import NODE, OVERVIEW, TRAFFIC
from mcp_transport.operators.representation.sessions import DETAIL, DETAIL_WITH_PAYLOADS, MESSAGE, PAYLOAD, SESSION
from mcp_transport.protocol.jsonrpc import RequestId

# The verbs that need a backend which shares streams between processes.
_NEED_STREAMS: Final = ("cancel", "messages", "nodes", "reset-breaker", "traffic")


class Command(BaseCommand):
    """Works on the session backend of the settings."""

    help = "List, show and end MCP sessions, cancel their calls, show summary statistics, and reset circuit breakers."

    def add_arguments(self, parser: CommandParser) -> None:
        add_verbs(parser)

    @no_translations  # scripts read the tables, too
    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        try:
            _require_shared(verb)
            async_to_sync(getattr(self, f"_{verb.replace('-', '_')}"))(**options)
        except (BackendError, ImproperlyConfigured, LookupError) as error:
            raise CommandError(str(error)) from error

    async def _list(self, *, limit: int, order: str, search: str, protocol: str, **options: Any) -> None:
        filters = ("user", "client", "node", "state", "created_after", "created_before")
        query = SessionQuery(text=search, protocol_version=protocol, **{name: options[name] for name in filters})
        page = await service.sessions(0, limit, query, order)
        self._print(options, [to_json(SESSION, session) for session in page.sessions], text.session_lines(page))

    async def _show(self, *, id: str, payloads: bool, **options: Any) -> None:
        key = (await service.find_session(id)).key
        detail = await service.session_detail(key)
        if detail is None:
            raise _ended(key)
        all_processes = bootstrap.endpoint().backend.shares_streams
        record = to_json(DETAIL_WITH_PAYLOADS if payloads else DETAIL, detail, all_processes=all_processes)
        self._print(options, record, text.detail_lines(detail, all_processes=all_processes, payloads=payloads))

    async def _end(self, *, ids: list[str], **options: Any) -> None:
        for session in [await service.find_session(id) for id in ids]:
            await service.end_session(session.key)
            self.stdout.write(f"ended {short_id(session.key)}")

    async def _cancel(self, *, id: str, request_id: RequestId, **options: Any) -> None:
        key, name = (await service.find_session(id)).key, json.dumps(request_id)
        if not await service.cancel_call(key, request_id):
            raise CommandError(
                f"No call {name} is running in session {short_id(key)}. `show` lists the running calls; "
                'the string "7" and the number 7 are different ids.'
            )
        self.stdout.write(f"cancelled {name} of {short_id(key)}")

    async def _messages(self, *, id: str, payloads: bool, **options: Any) -> None:
        messages = await _all_messages((await service.find_session(id)).key)
        fields = (*MESSAGE, PAYLOAD) if payloads else MESSAGE
        records = [to_json(fields, message) for message in messages]
        self._print(options, records, text.message_lines(messages, payloads=payloads))

    async def _nodes(self, **options: Any) -> None:
        nodes = await service.nodes()
        self._print(options, [to_json(NODE, node) for node in nodes], text.node_lines(nodes))

    async def _overview(self, **options: Any) -> None:
        overview = await service.overview()
        self._print(options, to_json(OVERVIEW, overview, all_processes=True), text.overview_lines(overview))

    async def _traffic(self, **options: Any) -> None:
        traffic = await service.traffic()
        self._print(options, to_json(TRAFFIC, traffic, all_processes=True), text.traffic_lines(traffic))

    async def _reset_breaker(self, *, tool: str, **options: Any) -> None:
        await service.reset_circuit_breaker(tool)
        self.stdout.write(f"reset the circuit breaker of {tool}")

    def _print(self, options: dict[str, Any], value: Any, lines: Iterable[str]) -> None:
        write_result(self.stdout, options, value, lines)


def _require_shared(verb: str) -> None:
    """Raise CommandError if this process cannot see the data that a verb needs."""
    backend, name = bootstrap.endpoint().backend, bootstrap.backend_name()
    if backend.index is None:
        raise CommandError(f"The {name!r} backend cannot list sessions.")
    if not backend.shares_sessions:
        raise CommandError(
            f"The {name!r} backend keeps sessions where no other process can see them. "
            "Use a cache that processes share: MCP_TRANSPORT['CACHE']."
        )
    if verb in _NEED_STREAMS and not backend.shares_streams:
        raise CommandError(
            f"The {name!r} backend keeps calls, streams and metrics in each server process, where no other process "
            "can see them. Use the backend 'redis' or 'dynamodb'."
        )


async def _all_messages(key: str) -> list[StreamMessage]:
    """Return all stored messages of a session. Raises: LookupError, BackendError."""
    messages, cursor = list[StreamMessage](), dict[str, int]()
    while batch := await service.new_messages(key, cursor):
        if not batch.messages:
            return messages
        messages += batch.messages
        cursor = dict(batch.cursor)
    raise _ended(key)


def _ended(key: str) -> LookupError:
    return LookupError(f"Session {short_id(key)} has ended.")
