"""A real Prometheus with the generated configuration scrapes real nodes and records the autoscaler's metric."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.parse
import urllib.request
from dataclasses import replace
from typing import Any

import pytest

from mcp_transport.deployment import Deployment, generate
from mcp_transport.domain.policy import Policy
from tests.support.cluster.nodes import Site
from tests.support.processes import LOOPBACK, Process, program
from tests.support.programs import need

P95 = "job:mcp_transport_response_milliseconds:p95_rate1m"
TOOL_P95 = "job_tool_era:mcp_transport_tool_milliseconds:p95_rate1m"
SERVED = "mcp_transport_node_sessions"
TIMEOUT_SECONDS = 60.0

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prometheus(Process):
    """Prometheus with the generated configuration, but short intervals."""

    role = "prometheus"

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self.deployment = deployment

    def command(self) -> list[str]:
        for name, text in generate("prometheus", self.deployment).items():
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
