"""Preparations of a process that serves requests."""

from __future__ import annotations

import gc

__all__ = ["freeze_gc", "is_prepared", "skip"]

is_prepared = False
"""Was the process prepared, or is it a test run? Read before each request, so that only the first one prepares it."""


def freeze_gc() -> None:
    """Exempt the objects that exist now from garbage collections.

    These are code, schemas, settings and what was built for the node: a garbage collection that traverses them takes
    tens of milliseconds, during which no request is served.
    """
    gc.collect()
    gc.freeze()


def skip() -> None:
    """Do not prepare this process: it has been prepared, it stops, or it is a test run."""
    global is_prepared
    is_prepared = True
