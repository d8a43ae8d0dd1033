"""Anonymous clients that send what takes much memory, to servers that have little."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.application_servers import ROOT, free_port

MEGABYTE = 1024 * 1024
ADDRESS_SPACE = 640 * MEGABYTE
"""What a process may map, its code and the stacks of its threads included."""
RESIDENT = 512 * MEGABYTE
"""What a pod has."""
PATIENCE = 60.0

SERVERS = {
    "uvicorn-h11 mounted": ("uvicorn", "--http", "h11", "--port", "{port}", "tests.adapters.hungry:mounted"),
    "uvicorn-httptools mounted": (
        "uvicorn",
        "--http",
        "httptools",
        "--port",
        "{port}",
        "tests.adapters.hungry:mounted",
    ),
    "uvicorn-httptools view": ("uvicorn", "--http", "httptools", "--port", "{port}", "tests.adapters.hungry:view"),
    "daphne mounted": ("daphne", "-p", "{port}", "tests.adapters.hungry:mounted"),
    "daphne view": ("daphne", "-p", "{port}", "tests.adapters.hungry:view"),
}
# A tool, what its argument is a list of, how many calls at once, and the bytes of each.
ATTACKS = [
    ("keep", "{},", 20, 4_190_000),
    ("keep", '"\U0001f600' + "x" * 5000 + '",', 20, 4_190_000),
    ("keep", '"' + "x" * 5000 + '",', 20, 4_190_000),
    ("keep", "[],", 40, 300_000),
    ("keep_typed", "{},", 40, 300_000),
    ("keep_typed", '{"":0},', 40, 300_000),
    ("keep_typed", '"ab",', 40, 300_000),
]


class Server:
    """A server process with little memory."""

    def __init__(self, command: tuple[str, ...], log: Path) -> None:
        self.port = free_port()
        words = [word.format(port=self.port) for word in command]
        # Stacks of threads are 8 MB otherwise, of which a thread uses next to nothing.
        limit = ("sh", "-c", f'ulimit -s 1024; ulimit -v {ADDRESS_SPACE // 1024}; exec "$@"', "sh")
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603
                [*limit, sys.executable, "-m", *words],
                cwd=ROOT,
                env={**os.environ, "MALLOC_ARENA_MAX": "2"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def peak(self) -> int:
        """Return the most bytes that it had in memory at once."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    async def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, asyncio.StreamWriter]:
        """Send a request; return its status, and the connection, which is left open."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = {"Host": "localhost", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        with suppress(ConnectionError):  # refused before it was sent
            await writer.drain()
        line = await reader.readline()
        return int(line.split()[1]), writer

    async def call(self, tool: str, arguments: str) -> tuple[int, asyncio.StreamWriter]:
        """Call a tool as a client of 2026-07-28."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = json.dumps({"name": tool, "_meta": meta})[:-1] + f', "arguments": {arguments}}}'
        body = f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {params}}}'.encode()
        return await self.ask(
            "POST",
            "/mcp",
            body,
            Accept="application/json, text/event-stream",
            Content_Type="application/json",
            MCP_Protocol_Version="2026-07-28",
            Mcp_Method="tools/call",
            Mcp_Name=tool,
        )


@pytest.fixture(params=SERVERS)
def server(request: Any, tmp_path: Path) -> Iterator[Server]:
    server = Server(SERVERS[request.param], tmp_path / "log")
    yield server
    server.process.terminate()
    try:
        server.process.wait(10)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


async def ready(server: Server) -> None:
    """Wait until it answers."""
    async with asyncio.timeout(PATIENCE):
        while server.process.poll() is None:
            with suppress(OSError, IndexError):
                status, writer = await server.ask("GET", "/healthz")
                writer.close()
                if status == 200:
                    return
            await asyncio.sleep(0.1)
    raise AssertionError("it does not start")


async def attack(server: Server, tool: str, piece: str, times: int, size: int) -> Counter[int]:
    """Have many large calls wait at once; return how many were answered with which status."""
    arguments = '{"value":[' + (piece * (size // len(piece.encode())))[:-1] + "]}"
    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(*(server.call(tool, arguments) for _ in range(times)))
    for _, writer in answers:
        writer.close()
    return Counter(status for status, _ in answers)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
async def test_a_server_with_little_memory_survives_large_calls_that_wait(server: Server) -> None:
    await ready(server)
    answered = Counter[int]()
    for tool, piece, times, size in ATTACKS:
        found = await attack(server, tool, piece, times, size)
        assert server.process.poll() is None, f"{tool} of {piece[:10]}: the process is gone"
        assert found.keys() <= {200, 413, 503}, (tool, piece[:10], found, server.log.read_text()[-2000:])
        answered += found
        status, writer = await server.call("add", '{"a": 1, "b": 2}')
        writer.close()
        assert status == 200, "a small call has no need to wait"
    assert answered[200], "what fits is let in"
    assert answered[503], "what does not fit now is not"
    assert server.peak() < RESIDENT
    status, writer = await server.ask("GET", "/readyz")
    writer.close()
    assert status == 200
