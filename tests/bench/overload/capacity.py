"""What the tools under load can do."""

from __future__ import annotations

SYNC_THREADS, SYNC_SECONDS = 32, 0.32
ASYNC_PLACES, ASYNC_SECONDS = 10, 0.1
CAPACITY = 100.0
"""Calls per second of `slow_sync`, and of `slow_async`."""

SECONDS = {"slow_sync": SYNC_SECONDS, "slow_async": ASYNC_SECONDS}
