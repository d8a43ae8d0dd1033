"""SIGTERM: the node takes leave before the server stops, whatever the server does by itself.

Daphne has no lifespan, and uvicorn ends it only after the last open stream; so the signal is the only word that
every server passes on in time. The server's own handler is called afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Final

from mcp_transport.process.listening_sockets import close_ports, ports_are_shared

__all__ = ["drain_before_sigterm"]

logger = logging.getLogger(__name__)

# Seconds in which a proxy sees 503 on connections it keeps open, before a server whose port stays open drops them.
_LINGER: Final = 0.5


def drain_before_sigterm(leave: Callable[[bool], Awaitable[None]]) -> None:
    """Have the running loop do `leave` at SIGTERM, then what was to be done before; a second one does that at once.

    The ports are closed first, where that can be done, which `leave` is told: a proxy sends on what was refused, and
    must not do so with a POST that was answered with 503.

    Nothing is changed off the main thread, where Python takes no signals, nor where a server handles the signal
    in its event loop, which knows no handler to go on with: such servers have a lifespan to end.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()
    if signal.SIGTERM in getattr(loop, "_signal_handlers", {}):
        return

    def go_on() -> None:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
        if callable(before):
            before(signal.SIGTERM, None)
        else:
            signal.raise_signal(signal.SIGTERM)

    async def leave_then_go_on() -> None:
        server = getattr(before, "__self__", None)
        is_closed = False
        try:
            is_closed = not ports_are_shared() and await close_ports(server)
            await leave(is_closed)
        except Exception:
            logger.exception("the node could not take leave")
        if not is_closed:
            await close_ports(server)
            await asyncio.sleep(_LINGER)
        go_on()

    def handle(number: int, frame: FrameType | None) -> Any:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
        if loop.is_closed() or not loop.is_running():
            go_on()
        else:
            loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(leave_then_go_on())))

    tasks: list[asyncio.Task[None]] = []
    signal.signal(signal.SIGTERM, handle)
