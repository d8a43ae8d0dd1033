"""Database connections that are lost, outdated, in a transaction, or cannot be closed: no other call meets them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from mcp_transport import tool
from mcp_transport.connections import release_connections
from tests.django.databases import Used, query
from tests.support.calls import result_of, returned
from tests.support.client import until
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


async def test_a_transaction_that_a_cancelled_call_left_open_ends(
    used: Used, serve: Serve, file_database: Any
) -> None:
    def begin() -> None:
        transaction.atomic().__enter__()
        used.query()

    @tool
    async def begins() -> int:
        await sync_to_async(begin)()
        raise RuntimeError("before the end of the transaction")

    @tool
    async def looks() -> bool:
        return bool(await sync_to_async(lambda: query().in_atomic_block)())

    served = serve()
    await result_of(served, "tools/call", {"name": "begins", "arguments": {}})
    await until(lambda: used.connections[0].closed_in_transaction)
    assert await returned(served, "looks") is False


async def test_a_lost_connection_costs_one_call(used: Used, serve: Serve, file_database: Any) -> None:
    @tool
    async def counts() -> int:
        return await sync_to_async(used.query)()

    @tool
    async def breaks() -> int:
        def cut() -> None:
            query().connection.close()  # as the database's end does

        await sync_to_async(cut)()
        return await sync_to_async(used.query)()

    served = serve()
    failed = await result_of(served, "tools/call", {"name": "breaks", "arguments": {}})
    assert failed["isError"]
    for _ in range(3):
        assert await returned(served, "counts") == 1


# -- connections of a thread that is met again --------------------------------------------------------


@pytest.fixture
def alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any) -> Any:
    """A database in a file, of an alias that no thread knows from another test."""
    entry = {**connections.settings["default"], "NAME": str(tmp_path / "file.sqlite3")}
    monkeypatch.setitem(connections.settings, tmp_path.name, entry)
    with django_db_blocker.unblock():
        yield tmp_path.name


async def test_sync_tool_does_not_meet_an_outdated_connection(alias: str, serve: Serve) -> None:
    connections.settings[alias]["CONN_MAX_AGE"] = None  # kept between calls, as projects may have it
    met: list[tuple[threading.Thread, Any, Any]] = []

    @tool
    def query() -> int:
        connection = connections[alias]
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        met.append((threading.current_thread(), connection, connection.connection))
        return 1

    endpoint = serve()
    async with asyncio.timeout(60):
        while len({id(opened) for *_, opened in met}) == len(met):  # until a thread is met with its connection
            await returned(endpoint, "query")
    thread, wrapper, outdated = met[-1]
    wrapper.close_at = 0  # its time is over
    met.clear()
    async with asyncio.timeout(60):
        while thread not in [found for found, *_ in met]:
            await returned(endpoint, "query")
    assert outdated not in [opened for *_, opened in met]


# -- connections that cannot be closed -----------------------------------------------------------------


async def test_connection_that_cannot_be_closed_is_nobody_elses(db: None, serve: Serve) -> None:
    @tool
    def dirty() -> str:
        transaction.atomic().__enter__()

        def broken() -> None:
            raise RuntimeError("the server is gone")

        connections["default"].close = broken  # type: ignore[method-assign]
        return "ok"

    @tool
    def is_in_transaction() -> bool:
        return connections["default"].in_atomic_block

    endpoint = serve()
    for _ in range(3):
        assert await returned(endpoint, "dirty") == "ok"
        assert await returned(endpoint, "is_in_transaction") is False


def test_connection_of_middleware_that_cannot_be_closed_costs_nobody_the_answer(
    db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the server is gone")

    connection = connections["default"]
    with monkeypatch.context() as patch:
        patch.setattr(connection, "close", broken)
        patch.setattr(connection, "in_atomic_block", False)  # that of the test
        release_connections()
    assert "could not be closed" in caplog.text
