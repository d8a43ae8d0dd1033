"""Preparations of a process that serves requests."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mcp_transport.process.sigterm import drain_before_sigterm

__all__ = ["is_prepared", "prepare", "skip"]

is_prepared = False
"""Was the process prepared, or is it a test run? Read before each request, so that only the first one prepares it."""


async def prepare(
    start_node: Callable[[], Awaitable[object]], drain_and_stop: Callable[[bool], Awaitable[None]]
) -> None:
    """Run `drain_and_stop` at SIGTERM, before the server's own handler, and freeze the objects of the start-up.

    These are code, schemas, settings and what `start_node` builds: a garbage collection that traverses them takes
    tens of milliseconds, during which no request is served.
    """
    skip()
    with suppress(Exception):  # the request that needs the node reports why it does not start
        await start_node()
    drain_before_sigterm(drain_and_stop)
    freeze_gc()


def freeze_gc() -> None:
    """Exempt the objects that exist now from garbage collections."""
    gc.collect()
    gc.freeze()


def skip() -> None:
    """Do not prepare this process: it has been prepared, or is a test run."""
    global is_prepared
    is_prepared = True
