"""A database in a file, and what calls have used of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from tests.support.client import until


@pytest.fixture
def file_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> Iterator[dict[str, Any]]:
    """Take a database in a file for `default`, as other databases are: each thread has a connection, which closes."""
    entry = {**connections.settings["default"], "NAME": str(tmp_path / "file.sqlite3")}
    monkeypatch.setitem(connections.settings, "default", entry)
    own = connections["default"]
    del connections["default"]
    with django_db_blocker.unblock():
        yield entry
    connections["default"].close()
    connections["default"] = own


def query() -> Any:
    """Query the database; return the connection and what it has opened."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    return connections["default"]


class Used:
    """The connections and threads that calls have used."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.threads: list[threading.Thread] = []

    def query(self) -> int:
        self.connections.append(query())
        self.threads.append(threading.current_thread())
        return 1

    async def all_closed(self) -> None:
        assert self.connections
        await until(lambda: all(connection.connection is None for connection in self.connections))


@pytest.fixture
def used() -> Used:
    return Used()
