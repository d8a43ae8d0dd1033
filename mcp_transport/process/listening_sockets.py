"""The ports that this process listens on, closed so that no client notices.

A server that closes a port resets the connections which the kernel has accepted for it, but it has not taken yet. A
proxy has written its request into such a connection and must not send it again, unlike one that was refused.
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

# However many still come.
_MOST_TICKS: Final = 100


async def close_ports(server: Any) -> bool:
    """Accept what waits, then no more; return whether there were ports that this process can close.

    `server` is the one whose handler of SIGTERM is known, if it is uvicorn's.
    """
    ports = [*_ports_of_twisted(), *_ports_of_uvicorn(server)]
    for number, close in ports:
        for _ in range(_MOST_TICKS):
            if not _is_waited_for(number):
                break
            await asyncio.sleep(0)
        close()
    return bool(ports)


def ports_are_shared() -> bool:
    """Tell whether another process holds the ports, too, which then stay open, with nobody who accepts.

    That are the parent of `uvicorn --workers`, and systemd where it hands sockets over (sd_listen_fds(3)).
    """
    return multiprocessing.parent_process() is not None or "LISTEN_FDS" in os.environ


def _is_waited_for(number: int) -> bool:
    polled = select.poll()
    polled.register(number, select.POLLIN)
    return bool(polled.poll(0))


def _ports_of_twisted() -> Iterator[tuple[int, Callable[[], None]]]:
    """Yield what daphne listens on; its own way to close a port takes another tick of the loop."""
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
