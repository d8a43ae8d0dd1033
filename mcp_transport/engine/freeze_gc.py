"""The garbage collector, spared what lives as long as the process."""

from __future__ import annotations

import gc
from functools import cache

__all__ = ["freeze_gc"]


@cache
def freeze_gc() -> None:
    """Freeze the objects that exist at start-up (`gc.freeze`), once a process: code, schemas and settings.

    A collection that looks through them takes tens of milliseconds, during which nobody is served.
    """
    gc.collect()
    gc.freeze()
