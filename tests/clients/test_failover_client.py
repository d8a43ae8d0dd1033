"""Our own client with a server of the TypeScript SDK, behind a proxy that drops the response of a call."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from mcp_transport.client import Client, ResultUnknown
from tests.clients.conftest import NodeProject
from tests.support.http.losing_proxy import LosingProxy

pytestmark = pytest.mark.npm


@dataclass
class Served:
    """The server, which prints its port and each tool that runs."""

    port: int
    process: asyncio.subprocess.Process

    async def end(self) -> list[str]:
        """Stop it; return the tools that ran."""
        self.process.kill()
        assert self.process.stdout is not None
        return (await self.process.stdout.read()).decode().split()


@pytest.fixture
async def served(node_project: NodeProject) -> AsyncIterator[Served]:
    command = node_project.command("typescript_server.mjs")
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    yield Served(int(await process.stdout.readline()), process)
    if process.returncode is None:
        process.kill()
    await process.wait()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_whose_answer_is_lost_is_repeated_only_where_it_may(served: Served, mode: str) -> None:
    proxy = LosingProxy(served.port, losses=3)
    direct = f"http://127.0.0.1:{served.port}/mcp"
    async with proxy.serve() as url:
        async with Client([url, direct], mode=mode) as client:
            with pytest.raises(ResultUnknown, match="may have run"):
                await client.call_tool("act", {"text": "a"})
        for tool in ("look", "put"):
            async with Client([url, direct], mode=mode) as client:
                result = await client.call_tool(tool, {"text": "a"})
                assert getattr(result.content[0], "text", "") == "a"
    assert proxy.losses == 0
    assert await served.end() == ["act", "look", "look", "put", "put"]
