"""Each server runs with its generated command line, and shuts down gracefully on SIGTERM."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mcp_transport.deployment import Deployment
from mcp_transport.deployment.options import SERVERS
from mcp_transport.deployment.server import command
from mcp_transport.domain.policy import Policy
from tests.deploy.units import Unit
from tests.support.cluster.stage import events_of, some_events
from tests.support.http.client import Client
from tests.support.programs import lacking, need
from tests.support.redis.server import RedisServer

SITE = "tests.deploy.showcase"
NEEDS = {"gunicorn": "uvicorn_worker", "granian": "uvloop"}


def deployment(server: str) -> Deployment:
    return Deployment(
        policy=Policy(drain=5.0),
        server=server,
        settings_module=f"{SITE}.settings",
        application=f"{SITE}.asgi:application",
    )


@pytest.fixture
def node(server: str, tmp_path: Path) -> Iterator[Unit]:
    need("redis-server")
    if importlib.util.find_spec(module := NEEDS.get(server, server)) is None:
        lacking(f"{server} needs {module}")
    mcp = json.dumps({"DRAIN_SECONDS": 5, "LEASE_SECONDS": 2, "SSE_AFTER_SECONDS": 0})
    with RedisServer() as redis:
        variables = {"REDIS_URL": redis.url, "SITE_FOLDER": str(tmp_path), "SITE_MCP": mcp}
        with Unit(deployment(server), variables, server) as unit:
            yield unit


@pytest.mark.servers
@pytest.mark.parametrize("server", SERVERS)
async def test_server_serves_streams_and_drains(node: Unit, tmp_path: Path) -> None:
    async with Client(node.port) as client:
        await client.initialize()
        stream = await client.get()
        call = await client.call("count", {"name": "last"})
        await some_events(call, 3)
        node.terminate()
        assert await events_of(stream) == []  # closed, so that its client reconnects to another node
        (tmp_path / "last.open").touch()
        assert (await call.text()).startswith("counted")
        assert await asyncio.to_thread(node.wait, node.deployment.server_timeout)
    assert "drained: " in node.log


def test_address_is_everybodys_in_a_container_and_this_machines_elsewhere() -> None:
    for server in SERVERS:
        spec = deployment(server)
        assert "8000" in " ".join(command(spec))
        assert "127.0.0.1" not in " ".join(command(spec))
        assert "127.0.0.1" in " ".join(command(spec, address="127.0.0.1"))


@pytest.mark.servers
@pytest.mark.parametrize("server", ["daphne", "uvicorn", "gunicorn"])
def test_connections_wait_until_a_busy_server_accepts_them(node: Unit) -> None:
    """Otherwise the kernel would drop the first packet of most, and their clients would repeat it seconds later."""
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    node.pause()
    try:
        with ExitStack() as stack:
            for _ in range(min(1000, most)):
                stack.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=20))
    finally:
        node.resume()


def test_backlog_is_the_same_for_each_server() -> None:
    for server in SERVERS:
        assert str(Deployment.backlog) in " ".join(command(deployment(server)))
    arguments = command(deployment("granian"))
    # Otherwise as many as the backlog: open streams would use them up.
    assert int(arguments[arguments.index("--backpressure") + 1]) == Deployment.open_files


def test_idle_connections_outlast_those_that_a_proxy_keeps() -> None:
    for server, option in (("gunicorn", "--keep-alive"), ("uvicorn", "--timeout-keep-alive")):
        spec = deployment(server)
        arguments = command(spec)
        assert int(arguments[arguments.index(option) + 1]) == spec.keep_alive > 60 > spec.idle_timeout


def test_no_server_is_killed_before_its_workers() -> None:
    for server, option in (("gunicorn", "--graceful-timeout"), ("granian", "--workers-kill-timeout")):
        spec = deployment(server)
        arguments = command(spec)
        assert (
            spec.drain
            < int(arguments[arguments.index(option) + 1])
            < spec.termination_timeout - spec.pre_stop_timeout
        )
    spec = deployment("uvicorn")
    arguments = command(spec)
    # Counted from the end of draining: this package handles SIGTERM first.
    assert int(arguments[arguments.index("--timeout-graceful-shutdown") + 1]) + spec.drain == spec.server_timeout
