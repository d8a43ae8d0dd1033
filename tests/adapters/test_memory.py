"""Calls that wait, and keep what their clients sent in memory, to servers that have little."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.http.messages import alone, call
from tests.support.http.network import Network
from tests.support.http.request import HOST, Request
from tests.support.node import Node

MEGABYTE = 1024 * 1024
ADDRESS_SPACE = 640 * MEGABYTE
"""What a process may map, its code and the stacks of its threads included."""
RESIDENT = 512 * MEGABYTE
"""What a pod has."""
PATIENCE = 60.0
# Stacks of threads are 8 MB otherwise, of which a thread uses next to nothing.
LIMITED = ["sh", "-c", f'ulimit -s 1024; ulimit -v {ADDRESS_SPACE // 1024}; exec "$@"', "sh"]

SERVERS = {
    "uvicorn-h11 mounted": ("uvicorn", "mounted", ["--http", "h11"]),
    "uvicorn-httptools view": ("uvicorn", "view", ["--http", "httptools"]),
    "daphne mounted": ("daphne", "mounted", []),
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


class LimitedNode(Node):
    """A server process with little memory."""

    def __init__(self, server: str, adapter: str, options: list[str], folder: Path) -> None:
        application = f"tests.adapters.hungry:{adapter}"
        variables = {"MALLOC_ARENA_MAX": "2"}
        super().__init__(server, settings="", application=application, environment=variables, folder=folder)
        self._options = options

    def environment(self) -> dict[str, str]:
        named = super().environment()
        del named["DJANGO_SETTINGS_MODULE"]  # the project configures itself
        return named

    def command(self) -> list[str]:
        return [*LIMITED, *super().command(), *self._options]

    def peak(self) -> int:
        """Return the most bytes that it had in memory at once."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LimitedNode]:
    with LimitedNode(*SERVERS[request.param], folder=tmp_path) as node:
        yield node


async def attack(server: LimitedNode, tool: str, piece: str, times: int, size: int) -> Counter[int]:
    """Have many large calls wait at once; return how many were answered with which status."""
    large = '{"value":[' + (piece * (size // len(piece.encode())))[:-1] + "]}"
    small = alone("tools/call", {"name": tool, "arguments": "HERE"})
    request = Request(headers=small.headers, body=small.body.replace(b'"HERE"', large.encode()))

    async def status() -> int:
        carrier = Network(server.port)
        carriers.append(carrier)
        line = await carrier.connect()
        with suppress(ConnectionError):  # refused before it was sent
            await line.write(request.encoded())
        return (await line.answer("POST")).status

    carriers: list[Network] = []
    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(*(status() for _ in range(times)))
    for carrier in carriers:
        await carrier.close()
    return Counter(answers)


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
async def test_a_server_with_little_memory_survives_large_calls_that_wait(server: LimitedNode) -> None:
    answered = Counter[int]()
    network = Network(server.port)
    for tool, piece, times, size in ATTACKS:
        found = await attack(server, tool, piece, times, size)
        assert server.alive, f"{tool} of {piece[:10]}: the process is gone"
        assert found.keys() <= {200, 413, 503}, (tool, piece[:10], found, server.fresh_log[-2000:])
        answered += found
        assert (await network.send(call("add", a=1, b=2))).status == 200, "a small call has no need to wait"
    assert answered[200], "what fits is let in"
    assert answered[503], "what does not fit now is not"
    assert server.peak() < RESIDENT
    assert (await network.send(Request(method="GET", path="/readyz", headers=(HOST,)))).status == 200
    await network.close()
