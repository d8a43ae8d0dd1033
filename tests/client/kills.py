"""Calls whose node is killed in the middle, and the results of their clients."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from mcp_transport.client import Client, ResultUnknown
from tests.support.cluster.stage import Stage

TOOLS: Final = ("count_durably", "count", "count_safely")
STEPS: Final = 10
_numbers = count()


@dataclass
class Killed:
    """The outcome of a call."""

    tool: str
    text: str = ""
    unknown: ResultUnknown | None = None
    progress: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    survivor: int = 0

    def faults(self) -> list[str]:
        """Return the violations of the guarantees."""
        faults = []
        if self.progress != sorted(set(self.progress)):
            faults.append(f"progress came twice, or in disorder: {self.progress}")
        if self.tool == "count":
            if self.unknown is None:
                faults.append(f"no ResultUnknown, but {self.text!r}")
            if len(self.runs) != 1:
                faults.append(f"a tool that may run once ran on {self.runs}")
            return faults
        if not self.text.startswith(f"counted to {STEPS} on "):
            faults.append(f"no result, but {self.unknown or self.text!r}")
        if not 1 <= len(self.runs) <= 2:
            faults.append(f"it ran on {self.runs}")
        if self.progress[-1:] != [STEPS]:
            faults.append(f"progress ended with {self.progress[-1:]}")
        return faults


async def kill_in_mid_call(stage: Stage, tool: str, tenth: int, seconds: float) -> Killed:
    """Call a tool that takes `seconds`, and kill its node with SIGKILL after `tenth` tenths of that."""
    name = f"killed-{next(_numbers)}"
    killed = Killed(tool)
    stage.open(name)

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        killed.progress.append(progress)
        if progress == tenth and len(stage.pids(name)) == 1:
            stage.node_of(int(message or 0)).kill()

    async with Client(urls(stage), deadline=30.0) as client:
        arguments = {"name": name, "steps": STEPS, "pause": seconds / STEPS}
        try:
            result = await client.call_tool(tool, arguments, progress_callback=progressed)
            killed.text = getattr(result.content[0], "text", "")
        except ResultUnknown as unknown:
            killed.unknown = unknown
        await client.list_tools()  # the client still works
    killed.runs = stage.pids(name)
    return killed


def urls(stage: Stage) -> Sequence[str]:
    """Return the endpoints of all nodes."""
    return [node.url for node in stage.nodes]


async def restart_all(stage: Stage, more: Callable[[], Awaitable[None]]) -> None:
    """Stop each node with SIGTERM and start it again, one after the other, under load."""
    for node in stage.nodes:
        await more()
        node.terminate()
        await asyncio.to_thread(node.wait, 30.0)
        await more()
        await asyncio.to_thread(node.start)
    await more()
