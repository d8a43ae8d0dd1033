"""Preparations of a process that serves requests."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from functools import cache

from mcp_transport.process.sigterm import drain_before_sigterm

__all__ = ["freeze_gc", "prepare_process"]


def prepare_process(drain_and_stop: Callable[[bool], Awaitable[None]]) -> None:
    """Run `drain_and_stop` at SIGTERM, before the server's own handler, and freeze the objects of the start-up."""
    drain_before_sigterm(drain_and_stop)
    freeze_gc()


@cache
def freeze_gc() -> None:
    """Freeze the objects that exist at start-up (`gc.freeze`), once a process: code, schemas and settings.

    A collection that traverses them takes tens of milliseconds, during which no request is served.
    """
    gc.collect()
    gc.freeze()
