"""Functions for PREWARM, which the test lets end by files in SITE_FOLDER."""

from __future__ import annotations

import asyncio
import sys
import time

from tests.support.cluster.site.mcp import FOLDER

GATE = FOLDER / "prewarm.open"


def hold() -> None:
    """Wait for the test in a thread."""
    (FOLDER / "prewarm.runs").touch()
    while not GATE.exists():
        time.sleep(0.01)


async def hold_async() -> None:
    """Wait for the test, then note which modules the process has imported."""
    while not GATE.exists():  # noqa: ASYNC110 (another process makes it)
        await asyncio.sleep(0.01)
    (FOLDER / "prewarm.modules").write_text("\n".join(sys.modules))
