"""`make cluster` says what it runs, notes deaths, and takes everything with it when it is stopped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from mcp_transport.domain.session import session_key
from tests.cluster.__main__ import SIGNALS
from tests.support.http.client import Client
from tests.support.processes import LOOPBACK, ROOT, free_port, is_free

SECONDS = 60


@dataclass
class Command:
    """The running command and what it wrote down."""

    process: asyncio.subprocess.Process
    home: Path
    port: int

    @property
    def written(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.home / ".cluster.json").read_text())
        return content

    async def printed(self, end: str) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            return (await self.process.stdout.readuntil(end.encode())).decode()

    async def ended(self) -> tuple[int | None, str]:
        async with asyncio.timeout(SECONDS):
            rest, _ = await self.process.communicate()
        return self.process.returncode, rest.decode()


@asynccontextmanager
async def command(home: Path, port: int) -> AsyncIterator[Command]:
    line = [sys.executable, "-m", "tests.cluster", "--port", str(port), "--home", str(home)]
    process = await asyncio.create_subprocess_exec(
        *line, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield Command(process, home, port)
    finally:
        if process.returncode is None:
            process.terminate()
            await Command(process, home, port).ended()


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def log_in(browser: httpx2.AsyncClient) -> None:
    """Log in to the admin of the demonstration."""
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', (await browser.get("/admin/login/")).text)
    form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": token}
    assert (await browser.post("/admin/login/", data=form)).status_code == 302


async def assert_a_session_s_page_is_live(cluster: Command) -> None:
    """Ask for news of a session through nginx, and watch it over a WebSocket."""
    site = f"http://{LOOPBACK}:{cluster.port}"
    async with (
        Client(cluster.port) as client,
        httpx2.AsyncClient(base_url=site, trust_env=False, headers={"Origin": site}, timeout=SECONDS) as browser,
    ):
        await client.initialize()
        for _ in range(4):  # streams enough for a cursor of some length
            await (await client.call("count_slowly", {"steps": 2, "delay_ms": 1})).text()
        await log_in(browser)
        place = f"/admin/mcp_transport/session/{session_key(client.session_id)}/"
        [cursor] = re.findall(r'data-cursor="([^"]+)"', (await browser.get(f"{place}change/")).text)
        for _ in range(3):  # nodes take turns
            news = (await browser.get(f"{place}live/", headers={"X-Cursor": cursor})).json()
            assert news["messages"] == []
            cursor = news["cursor"]
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        headers = {"Cookie": cookies}
        address = f"{site.replace('http', 'ws', 1)}{place}live/"
        async with connect(address, additional_headers=headers, origin=Origin(site), proxy=None) as socket:
            await socket.send(json.dumps({"cursor": cursor}))
            async with asyncio.timeout(SECONDS):
                news = json.loads(await socket.recv())
                assert news["messages"] == []
                await (await client.call("whoami")).text()
                while "tools/call whoami" not in str(news["timeline"]):
                    news = json.loads(await socket.recv())


async def test_all_runs_and_a_session_s_page_is_live_until_ctrl_c_and_nothing_after_it(tmp_path: Path) -> None:
    async with command(tmp_path, free_port()) as cluster:
        introduction = await cluster.printed("Stop with Ctrl-C.\n")
        written = cluster.written
        processes = written["processes"]
        assert [process["role"] for process in processes] == ["redis", "node", "node", "node", "nginx"]
        assert written["url"] == f"http://{LOOPBACK}:{cluster.port}/mcp"
        assert written["url"] in introduction
        for process in processes:
            assert f"{process['name']:8} {LOOPBACK}:{process['port']:<6} pid {process['pid']}" in introduction
            assert exists(process["pid"])
            socket.create_connection((LOOPBACK, process["port"]), timeout=10).close()
        await assert_a_session_s_page_is_live(cluster)

        victim = next(process for process in processes if process["role"] == "node")
        os.kill(victim["pid"], signal.SIGKILL)
        assert f"{victim['name']} (pid {victim['pid']}) was ended by SIGKILL" in await cluster.printed("go on.\n")
        async with Client(cluster.port) as client:
            for _ in range(3):
                assert await (await client.call_alone("whoami")).text()

        cluster.process.send_signal(signal.SIGINT)
        # Without a failure, which a secret in a log would be.
        assert await cluster.ended() == (0, "Stopping.\n")
        assert not any(exists(process["pid"]) for process in processes)
        assert all(is_free(process["port"]) for process in processes)
        assert not (cluster.home / ".cluster.json").exists()


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_is_a_wish_to_stop(number: signal.Signals) -> None:
    program = (
        "import os; from tests.cluster.__main__ import Interruption; "
        f"interruption = Interruption(); os.kill(os.getpid(), {number}); print(interruption.wanted)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)  # noqa: S603
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


async def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, port := free_port())):
        async with command(tmp_path, port) as cluster:
            status, printed = await cluster.ended()
    assert status == 1
    assert f"Port {port} is taken" in printed
    assert not (tmp_path / ".cluster.json").exists()


async def test_processes_left_over_are_named(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as left:
        entry = {"role": "node", "name": "node-1", "port": left.getsockname()[1], "pid": 4_000_000}
        (tmp_path / ".cluster.json").write_text(json.dumps({"url": "", "processes": [entry]}))
        async with command(tmp_path, free_port()) as cluster:
            status, printed = await cluster.ended()
    assert status == 1
    assert "kill 4000000" in printed
