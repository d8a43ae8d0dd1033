"""The database connections of a thread: which ones stay open, and how they are closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

__all__ = ["close_connections", "end_connections", "opened_connection", "release_connections", "watch_connections"]

logger = logging.getLogger(__name__)

_opened: ContextVar[bool] = ContextVar("mcp_transport_connection_opened", default=False)


def watch_connections() -> None:
    """Record from now on in which context connections are opened."""
    connection_created.connect(_record_opened, dispatch_uid="mcp_transport")


def _record_opened(**kwargs: Any) -> None:
    _opened.set(True)  # asgiref copies this from a thread to the task that waits for it


def opened_connection() -> bool:
    """Return whether the running request has opened a connection, for example in middleware."""
    return _opened.get()


def end_connections() -> None:
    """Do what Django does after a request: close this thread's connections, except those that CONN_MAX_AGE keeps.

    Connections in a transaction are closed, too: the code that started the transaction has ended.
    """
    _for_each_open(_end)


def release_connections() -> None:
    """Close this thread's connections, except those in a transaction, which the request's code may continue."""
    _for_each_open(_release)


def close_connections() -> None:
    """Close this thread's connections before the thread ends."""
    _for_each_open(_close)


def _for_each_open(work: Callable[[Any], None]) -> None:
    """Call `work` with each open connection; errors are logged, so that the other connections are closed, too."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            try:
                work(connection)
            except Exception:
                logger.exception("a database connection could not be closed")


def _end(connection: Any) -> None:
    """Do what `BaseDatabaseWrapper.close_if_unusable_or_obsolete` does, but without a query."""
    if (
        connection.in_atomic_block
        or connection.errors_occurred
        or connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
        or connection.settings_dict["CONN_MAX_AGE"] == 0
        or (connection.close_at is not None and time.monotonic() >= connection.close_at)
    ):
        _close(connection)
    else:
        connection.health_check_done = False  # CONN_HEALTH_CHECKS: check at the next use
        connection.queries_log.clear()  # as at the start of a request


def _release(connection: Any) -> None:
    if not connection.in_atomic_block:
        connection.close()


def _close(connection: BaseDatabaseWrapper) -> None:
    # The next call gets a new object: this one may have attributes of the project, such as a tenant, or a transaction
    # that never ends.
    del connections[connection.alias]
    connection.close()
    BaseDatabaseWrapper.close(connection)  # SQLite's own method does not close databases in memory
