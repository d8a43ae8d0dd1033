"""Database connections of a thread: when they are kept, and how they end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

__all__ = ["close_connections", "end_connections", "opened_here", "release_connections", "watch_connections"]

logger = logging.getLogger(__name__)

_opened: ContextVar[bool] = ContextVar("mcp_transport_connection_opened", default=False)


def watch_connections() -> None:
    """Note from now on in whose context a connection is opened."""
    connection_created.connect(_note_opened, dispatch_uid="mcp_transport")


def _note_opened(**kwargs: Any) -> None:
    _opened.set(True)  # asgiref carries this from a thread to the task that waits for it


def opened_here() -> bool:
    """Tell whether the running request, by its middleware say, has opened a connection."""
    return _opened.get()


def end_connections() -> None:
    """Do what Django does after a request: close this thread's connections, but those that CONN_MAX_AGE keeps.

    An open transaction ends with its connection, too: the code that began it is gone.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            with _logged():
                _end(connection)


def release_connections() -> None:
    """Close this thread's connections, but those in a transaction: more code of the request may follow there."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            with _logged():
                connection.close()


def close_connections() -> None:
    """Close this thread's connections: the thread ends."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            with _logged():
                _close(connection)


@contextmanager
def _logged() -> Iterator[None]:
    """Log what a connection raises at its end: others have to end, too."""
    try:
        yield
    except Exception:
        logger.exception("a database connection could not be closed")


def _end(connection: Any) -> None:
    """Do what `BaseDatabaseWrapper.close_if_unusable_or_obsolete` does, without a query."""
    if (
        connection.in_atomic_block
        or connection.errors_occurred
        or connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
        or connection.settings_dict["CONN_MAX_AGE"] == 0
        or (connection.close_at is not None and time.monotonic() >= connection.close_at)
    ):
        _close(connection)
    else:
        connection.health_check_done = False  # CONN_HEALTH_CHECKS: ask at the next use
        connection.queries_log.clear()  # as at the beginning of a request


def _close(connection: BaseDatabaseWrapper) -> None:
    # The next call gets a new object: this one may still hold what was set on it, such as a tenant, or wait for the
    # end of a transaction that never comes.
    del connections[connection.alias]
    connection.close()
    BaseDatabaseWrapper.close(connection)  # SQLite's own method keeps a database in memory open
