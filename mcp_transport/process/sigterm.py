"""SIGTERM: drain and stop the node before the server stops.

Daphne has no lifespan, and uvicorn ends it only after the last open stream; so the signal is the only event that all
servers have in time. The server's own handler is called afterwards.
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

# For proxies to receive 503 on connections that they keep open, if a server's port cannot be closed.
_KEEPALIVE_DRAIN_SECONDS: Final = 0.5

_installed: Any = None
"""The handler of this process, or None."""


def drain_before_sigterm(stop_node: Callable[[bool], Awaitable[None]]) -> None:
    """Run `stop_node` in the running loop at SIGTERM, then the previous handler; a second SIGTERM skips `stop_node`.

    The listening ports are closed first if possible, and `stop_node` gets whether they are: a proxy sends a refused
    connection's request to another server, but must not do so with a POST that was answered with 503.

    Nothing is changed off the main thread, where Python handles no signals, nor if the server handles SIGTERM in its
    event loop, which has no previous handler to call: such servers end their lifespan in time. A second call changes
    nothing, unless the server has replaced the handler since.
    """
    global _installed
    if threading.current_thread() is not threading.main_thread():
        return
    previous, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()
    if signal.SIGTERM in getattr(loop, "_signal_handlers", {}) or (previous is not None and previous is _installed):
        return

    def run_previous_handler() -> None:
        signal.signal(signal.SIGTERM, previous if previous is not None else signal.SIG_DFL)
        if callable(previous):
            previous(signal.SIGTERM, None)
        else:
            signal.raise_signal(signal.SIGTERM)

    async def stop_node_first() -> None:
        server = getattr(previous, "__self__", None)
        ports_closed = False
        try:
            ports_closed = not ports_are_shared() and await close_ports(server)
            await stop_node(ports_closed)
        except Exception:
            logger.exception("the node could not be drained and stopped")
        if not ports_closed:
            await close_ports(server)
            await asyncio.sleep(_KEEPALIVE_DRAIN_SECONDS)
        run_previous_handler()

    def handle(number: int, frame: FrameType | None) -> Any:
        signal.signal(signal.SIGTERM, previous if previous is not None else signal.SIG_DFL)
        if loop.is_closed() or not loop.is_running():
            run_previous_handler()
        else:
            loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(stop_node_first())))

    tasks: list[asyncio.Task[None]] = []
    _installed = handle
    signal.signal(signal.SIGTERM, handle)
