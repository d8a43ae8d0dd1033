"""A real Prometheus with the generated configuration scrapes real nodes and records the autoscaler's metric."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import yaml

from mcp_transport.deployment import Deployment, generate, server
from mcp_transport.domain.policy import Policy
from tests.support.cluster.nodes import Site
from tests.support.node import Node
from tests.support.processes import LOOPBACK, Process, free_port, program, start_all, stop_all
from tests.support.programs import need

P95 = "job:mcp_transport_response_milliseconds:p95_rate1m"
TOOL_P95 = "job_tool_era:mcp_transport_tool_milliseconds:p95_rate1m"
SERVED = "mcp_transport_node_sessions"
TIMEOUT_SECONDS = 60.0

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prometheus(Process):
    """Prometheus with the generated configuration, but short intervals."""

    role = "prometheus"

    def __init__(self, deployment: Deployment, target: str = "prometheus") -> None:
        super().__init__()
        self.deployment = deployment
        files = generate(target, deployment)
        self.files = {name.removeprefix("prometheus/"): text for name, text in files.items()}

    def command(self) -> list[str]:
        for name, text in self.files.items():
            interval = f"{self.deployment.scrape_interval}s"
            (self.folder / name).write_text(text.replace(interval, "1s").replace("[1m]", "[10s]"))
        return [
            program("prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
        ]

    def is_ready(self) -> bool:
        try:
            return bool(self.read("/-/ready"))
        except OSError:
            return False

    def read(self, path: str) -> bytes:
        with _opener.open(f"http://{LOOPBACK}:{self.port}{path}", timeout=5) as answer:
            content: bytes = answer.read()
            return content

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the samples of a query."""
        parameters = urllib.parse.urlencode({"query": query})
        result: list[dict[str, Any]] = json.loads(self.read(f"/api/v1/query?{parameters}"))["data"]["result"]
        return result


@pytest.mark.servers
@pytest.mark.slow
async def test_what_nodes_count_arrives_in_the_record() -> None:
    need("redis-server", "prometheus")
    with Site(mcp={"DRAIN_SECONDS": 1}) as site:
        targets = ",".join(f"{LOOPBACK}:{port}" for port in site.ports)
        options: dict[str, Any] = {"monitor": "scrape", "upstreams": targets, "p95_operations": "tools/call where"}
        deployment = replace(Deployment(policy=Policy()), **options)
        with Prometheus(deployment) as prometheus:
            async with site.client() as client:
                await client.initialize()
                deadline = time.monotonic() + TIMEOUT_SECONDS
                # It is 0 without calls, and before two scrapes.
                arrived = f"{P95} > 0 and on (job) count by (job) (up == 1) == {len(site.ports)}"
                # Each process counts all sessions with its heartbeat, once the first scrape has asked for them.
                counted = f"count(mcp_transport_sessions == 1) == {len(site.ports)} and sum({SERVED}) >= 1"
                for query in (arrived, counted, f'{TOOL_P95}{{tool="where", era="session"}} > 0'):
                    while not await asyncio.to_thread(prometheus.query, query):
                        assert time.monotonic() < deadline, prometheus.log
                        await client.call("where")
            [opened] = prometheus.query("sum(mcp_transport_sessions_opened_total)")
            assert opened["value"][1] == "1"
            [sessions] = prometheus.query("job:mcp_transport_sessions:max")
            assert sessions["value"][1] == "1", "a session that several processes count is one"
            assert len(prometheus.query("mcp_transport_memory_bytes > 1e6")) == len(site.ports)


class Composed(Node):
    """A node of compose.yaml: its variables, and its address, which is one of this machine's loopback network."""

    def __init__(self, deployment: Deployment, address: str, variables: dict[str, str]) -> None:
        super().__init__("daphne", environment=variables, port=deployment.port, name=address)
        self.deployment, self.address = deployment, address

    def inherited(self) -> Any:
        return super(Node, self).inherited()  # the command line binds its own port

    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "REDIS_"))}
        return {**own, **self.variables}

    def command(self) -> list[str]:
        return [sys.executable, "-m", *server.command(self.deployment, address=self.address)]

    def status(self, host: str) -> int:
        """Return the status of /metrics for a Host."""
        request = urllib.request.Request(f"http://{self.address}:{self.port}/metrics", headers={"Host": host})
        try:
            with _opener.open(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def is_ready(self) -> bool:
        try:
            return bool(self.status(self.deployment.host))
        except OSError:
            return False


@pytest.mark.servers
@pytest.mark.slow
def test_prometheus_of_compose_scrapes_the_nodes_of_compose() -> None:
    """All names, addresses and hosts are those of the generated files; only the processes are not in containers."""
    need("prometheus")
    deployment = Deployment(
        policy=Policy(),
        subnet="127.28.7.0/24",
        min_replicas=2,
        port=free_port(),
        settings_module="mcpsite.settings",
        application="mcpsite.asgi:application",
    )
    services = yaml.safe_load(generate("compose", deployment)["compose.yaml"])["services"]
    own = {"DJANGO_SECRET_KEY": "of-the-test-alone-" * 4, "REDIS_URL": ""}
    nodes = [
        Composed(deployment, service["networks"]["nodes"]["ipv4_address"], {**service["environment"], **own})
        for service in (services["mcp-1"], services["mcp-2"])
    ]
    with ExitStack() as running:
        running.callback(stop_all, nodes)
        start_all(nodes)
        node = nodes[0]
        assert (node.status(deployment.host), node.status(f"mcp-2:{deployment.port}")) == (200, 400)
        prometheus = running.enter_context(Prometheus(deployment, "compose"))
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not prometheus.query('count(up{job="mcp"} == 1 and on (instance) mcp_transport_draining == 0) == 2'):
            assert time.monotonic() < deadline, (prometheus.query("up"), prometheus.log)
            time.sleep(0.2)  # what it scrapes in the meantime
