"""A table in DynamoDB that the nodes of a test share."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.dynamodb.items import EXPIRES, expiry
from mcp_transport.backends.dynamodb.session_record import record_address
from mcp_transport.backends.dynamodb.stream_state import stream_address, stream_kind
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key
from tests.support.cluster.store import Store
from tests.support.dynamodb.backend import admin, build, client_of, make_table
from tests.support.dynamodb.permanent import refuse_permanent_items
from tests.support.dynamodb.server import VARIABLES, DynamoServer

__all__ = ["DynamoStore"]


class DynamoStore(Store):
    """A table on a server with DynamoDB's API; it is asked through a backend of the test's own process."""

    def __init__(self, folder: Path | None = None) -> None:
        self._server = DynamoServer(folder=folder)
        self._table: TableSettings | None = None
        self._environment = pytest.MonkeyPatch()

    @property
    def server(self) -> DynamoServer:
        return self._server

    def start(self) -> None:
        super().start()
        if self._table is None:
            for name, value in VARIABLES.items():
                self._environment.setenv(name, value)
            self._table = make_table(self.server)

    def stop(self) -> None:
        super().stop()
        self._environment.undo()

    @property
    def table(self) -> TableSettings:
        """Where the table is."""
        assert self._table is not None, "the store was never started"
        return self._table

    @property
    def variables(self) -> Mapping[str, str]:
        return {**VARIABLES, "SITE_DYNAMODB": json.dumps(self.server.setting(self.table.table))}

    def refuse_leftovers(self) -> None:
        if self.server.alive:
            refuse_permanent_items(self.table)

    def in_flight(self, session_id: str) -> list[str]:
        requests = _wait(lambda: self._backend.sessions.in_flight(session_key(session_id)))
        return [str(request.request_id) for request in requests]

    def stream(self, session_id: str, name: str) -> dict[str, Any]:
        item = _wait(lambda: client_of(self._backend).get(stream_address(session_key(session_id), name)))
        return asdict(stream_kind.decode(item)) if item is not None else {}

    def has_session(self, session_id: str) -> bool:
        client = client_of(self._backend)
        item = _wait(lambda: client.get(record_address(session_key(session_id))))
        # By what its node has written: the policy of this process may be another one.
        return item is not None and client.now() < item[EXPIRES] - expiry(0)[EXPIRES] + 1

    def journaled(self, session_id: str) -> int:
        return sum(session_key(session_id) in sk for pk, sk in self._items() if pk.startswith("journal#"))

    def has_orphans(self) -> bool:
        items = self._items()
        writers = {pk.removeprefix("journal#") for pk, _ in items if pk.startswith("journal#")}
        leases = {node: items.get(("nodes", node), {"swept": {"BOOL": True}}) for node in writers}
        return any(lease["swept"]["BOOL"] for lease in leases.values())

    def _items(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return all items by their keys, with no attribute but a lease's `swept`; a page has a megabyte at most."""
        paginator = admin(self.server.url).get_paginator("scan")
        pages = paginator.paginate(
            TableName=self.table.table, ConsistentRead=True, ProjectionExpression="pk, sk, swept"
        )
        return {(item["pk"]["S"], item["sk"]["S"]): item for page in pages for item in page["Items"]}

    def leases(self) -> int:
        return len(_wait(lambda: self._backend.bus.nodes()))

    def now(self) -> float:
        return time.time()  # moto runs on this machine

    @cached_property
    def _backend(self) -> Backend:
        return build(self.table, Policy())


def _wait(ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Return the answer to a question that is asked in a loop of its own: the caller's may be running."""

    async def run() -> Any:
        return await ask()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(run())).result()
