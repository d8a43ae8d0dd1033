"""`manage.py mcp_drain`, as a preStop hook runs it, before SIGTERM."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.support.cluster.stage import Stage, events_of, some_events, until
from tests.support.http.answer import PATIENCE
from tests.support.http.client import Client
from tests.support.processes import ROOT

DRAIN = 5.0
STARTING = 30.0
"""Seconds that a command may take to start on a busy machine."""


@pytest.fixture
def stage() -> Iterator[Stage]:
    # Nodes of their own for each test: a node that drains never takes clients again.
    with Stage(LEASE_SECONDS=2.0, DRAIN_SECONDS=DRAIN, SSE_AFTER_SECONDS=0.2) as stage:
        yield stage


@asynccontextmanager
async def draining(stage: Stage, *options: str) -> AsyncIterator[Process]:
    """Run the command beside the nodes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "django", "mcp_drain", *options),
        cwd=ROOT,
        env=stage.nodes[0].environment(),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def said(process: Process) -> tuple[str, str]:
    """Wait for its end; return what it printed, and to where."""
    async with asyncio.timeout(STARTING + PATIENCE):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode(), err.decode()


async def test_clients_go_elsewhere_while_posts_are_served_then_sigterm_ends_it(stage: Stage, caller: Client) -> None:
    stream = await caller.get()
    call = await caller.call("count", {"name": "prestop"})
    await some_events(call, 3)
    async with draining(stage, "--wait", "0.1", "--timeout", "30") as command:
        assert await events_of(stream) == []
        assert stream.retry is not None
        assert not stream.broken
        for node in stage.nodes:
            await until(lambda: all(not stage.is_ready(node) for node in stage.nodes), "readiness is red")
            assert await (await caller.call("add", {"a": 1, "b": 2}, port=node.port)).text() == "3"
            assert (await caller.get(port=node.port)).status == 503
            assert await (await caller.call_alone("add", {"a": 1, "b": 2}, port=node.port)).text() == "3"
        assert command.returncode is None  # a call runs
        stage.open("prestop")
        assert (await call.text()).startswith("counted")
        out, _ = await said(command)
        first, last = out.splitlines()
        assert first.startswith(f"draining 2 nodes on {socket.gethostname()}: ")
        assert all(f"(pid {node.pid})" in first for node in stage.nodes)
        assert last == "drained 2 nodes"
    began = time.monotonic()
    for node in stage.nodes:
        node.terminate()
    for node in stage.nodes:
        assert await asyncio.to_thread(node.wait, DRAIN)
        assert "drained: " in node.fresh_log
    assert time.monotonic() - began < DRAIN


async def test_a_call_without_end_is_not_waited_for_and_a_wrong_duration_drains_nothing(
    stage: Stage, caller: Client
) -> None:
    async with draining(stage, "--wait=-1") as command, asyncio.timeout(STARTING + PATIENCE):
        out, err = await command.communicate()
    assert (command.returncode, out) == (2, b"")
    assert b"argument --wait: expected seconds from 0 to 86400, got '-1'" in err
    async with draining(stage, "--dry-run") as command:
        told, _ = await said(command)
    assert told.startswith(f"would drain 2 nodes on {socket.gethostname()}: ")
    assert all(stage.is_ready(node) for node in stage.nodes)
    call = await caller.call("count", {"name": "endless"})
    await some_events(call, 3)
    await until(lambda: stage.flights(caller), "the call is on the books")
    async with draining(stage, "--wait", "0.1", "--timeout", "2") as command:
        told = "".join(await said(command))
    assert "not drained after 2 s" in told, "while the call runs"
    stage.open("endless")
    assert (await call.text()).startswith("counted")
