"""Tools that do what tools should not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mcp_transport import tool

FOLDER = Path(os.environ.get("SITE_FOLDER", "/nonexistent"))


class Unheard(BaseException):
    """One that nobody catches."""


def _raise(error: BaseException) -> Any:
    raise error


KINDS: Mapping[str, Callable[[], Any]] = {
    "exit": lambda: sys.exit("a reason"),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "cancelled": lambda: _raise(asyncio.CancelledError()),
    "generator exit": lambda: _raise(GeneratorExit()),
    "unheard": lambda: _raise(Unheard()),
    "group": lambda: _raise(BaseExceptionGroup("several", [SystemExit(), KeyboardInterrupt()])),
    "stop": lambda: next(iter([])),
    "memory": lambda: _raise(MemoryError()),
}


@tool
def misbehave(kind: str) -> None:
    """Raise something in a thread."""
    KINDS[kind]()


@tool
async def misbehave_on_the_loop(kind: str) -> None:
    """Raise something on the loop."""
    await asyncio.sleep(0)
    KINDS[kind]()


@tool
async def misbehave_in_a_task(kind: str) -> None:
    """Raise something in a task, and wait for that."""

    async def work() -> None:
        KINDS[kind]()

    await asyncio.create_task(work())


@tool
async def misbehave_aside(kind: str) -> str:
    """Raise something in a task that nobody waits for."""

    async def work() -> None:
        KINDS[kind]()

    task = asyncio.create_task(work())
    await asyncio.wait([task])
    return "done"


@tool(structured_output=False)
def large(megabytes: int) -> str:
    """Return a long text."""
    return "x" * (megabytes * 1_000_000)


@tool
async def stay(name: str) -> None:
    """Never end, whoever cancels it."""
    (FOLDER / f"{name}.runs").write_text(f"{os.getpid()}\n")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            (FOLDER / f"{name}.cancelled").write_text(f"{os.getpid()}\n")
