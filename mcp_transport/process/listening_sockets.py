"""Closes the ports that this process listens on, without an error for any client.

Closing a port resets connections that the kernel has established and the server has not accepted yet. A proxy has
written its request into such a connection and must not send it again, unlike after a refused connection.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

__all__ = ["close_ports", "ports_are_shared"]

# Limits the wait while new connections keep arriving.
_MAX_TICKS: Final = 100


async def close_ports(server: Any) -> bool:
    """Accept pending connections and close the ports; return whether this process has ports that it can close.

    `server` is the object whose method handles SIGTERM, such as uvicorn's server, or None.
    """
    ports = [*_ports_of_twisted(), *_ports_of_uvicorn(server)]
    for number, close in ports:
        for _ in range(_MAX_TICKS):
            if not _has_pending_connection(number):
                break
            await asyncio.sleep(0)
        close()
    return bool(ports)


def ports_are_shared() -> bool:
    """Return whether another process has the ports open, too: closing them here would leave no process that accepts.

    This is the parent of `uvicorn --workers`, or systemd with socket activation (sd_listen_fds(3)).
    """
    return multiprocessing.parent_process() is not None or "LISTEN_FDS" in os.environ


def _has_pending_connection(number: int) -> bool:
    polled = select.poll()
    polled.register(number, select.POLLIN)
    return bool(polled.poll(0))


def _ports_of_twisted() -> Iterator[tuple[int, Callable[[], None]]]:
    """Yield daphne's ports; its own method to close a port would take another tick of the loop."""
    reactor = sys.modules.get("twisted.internet.reactor")
    for port in reactor.getReaders() if reactor is not None else ():
        if hasattr(port, "stopListening"):
            yield port.fileno(), partial(_close_port, port)


def _close_port(port: Any) -> None:
    port.stopReading()
    port.connectionLost(None)


def _ports_of_uvicorn(server: Any) -> Iterator[tuple[int, Callable[[], None]]]:
    for listening in getattr(server, "servers", ()):
        for socket in listening.sockets:
            yield socket.fileno(), listening.close
