"""Nodes are replaced one by one under load, like in Kubernetes, behind a generated proxy: clients notice nothing.

The nodes run what the generated unit says. Each has a host name of its own, as a container has, because `mcp_drain`
reaches all nodes of its host.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from mcp_transport.deployment import Deployment
from mcp_transport.domain.policy import Policy
from tests.deploy.proxies import HAProxy, Nginx, Proxy
from tests.deploy.units import Unit
from tests.support.cluster.load import Load
from tests.support.processes import ROOT, start_all, stop_all
from tests.support.programs import lacking, need
from tests.support.redis.server import RedisServer

SITE = "tests.deploy.showcase"
POLICY = Policy(drain=5.0, lease=2.0, sse_after=0.2, retry_ms=100)
CLIENTS = 4
CALLS = 30
REPLACED = 2
"""Nodes, one of each server; the third has the first one's server and is not replaced."""

NAMESPACES = (["unshare", "--uts"], ["unshare", "--map-root-user", "--uts"])


def deployment(server: str) -> Deployment:
    return Deployment(
        policy=POLICY, server=server, settings_module=f"{SITE}.settings", application=f"{SITE}.asgi:application"
    )


def namespace() -> list[str]:
    """Return the prefix of a command that may change the host name. Raises: LookupError."""
    for command in NAMESPACES:
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:  # noqa: S603
            return command
    raise LookupError("no UTS namespace can be made here: run as root, or allow user namespaces")


class Host(Unit):
    """A node with its own host name."""

    def __init__(self, server: str, number: int, namespace: list[str], variables: dict[str, str]) -> None:
        super().__init__(deployment(server), variables, f"node-{number}")
        self._namespace = namespace

    def command(self) -> list[str]:
        return self.on_its_host(*super().command())

    def on_its_host(self, *command: str) -> list[str]:
        """Return the prefix of a command that runs under this node's host name, in the same process."""
        return [*self._namespace, "sh", "-c", f'hostname {self.name} && exec "$@"', "sh", *command]

    async def drain(self, wait: float) -> None:
        """Run the preStop hook."""
        options = ("--wait", str(wait), "--timeout", str(self.deployment.pre_stop_timeout))
        hook = await asyncio.create_subprocess_exec(
            *self.on_its_host(sys.executable, "-m", "django", "mcp_drain", *options),
            cwd=ROOT,
            env=self.environment(),
            stdout=subprocess.PIPE,
        )
        output, _ = await hook.communicate()
        assert output.decode().endswith("\ndrained 1 node\n")

    async def stop_and_start(self) -> float:
        """Replace the process and wait until the new one is ready; return how long the old one took to exit."""
        began = time.monotonic()
        self.terminate()
        assert await asyncio.to_thread(self.wait, self.deployment.termination_timeout), (
            f"{self.name} runs on:\n{self.fresh_log}"
        )
        took = time.monotonic() - began
        assert "drained: " in self.fresh_log
        await asyncio.to_thread(self.start)
        return took


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[Host]]:
    need("redis-server", "nginx", "haproxy", "unshare", "hostname")
    try:
        own_names = namespace()
    except LookupError as missing:
        lacking(str(missing))
    (tmp_path / "load.open").touch()  # the load's calls do not wait
    settings = {
        "DRAIN_SECONDS": POLICY.drain,
        "LEASE_SECONDS": POLICY.lease,
        "SSE_AFTER_SECONDS": POLICY.sse_after,
        "RETRY_MILLISECONDS": POLICY.retry_ms,
    }
    with RedisServer() as redis:
        variables = {"REDIS_URL": redis.url, "SITE_FOLDER": str(tmp_path), "SITE_MCP": json.dumps(settings)}
        nodes = [
            Host(server, number, own_names, variables)
            for number, server in enumerate(("daphne", "uvicorn", "daphne"))
        ]
        start_all(nodes)
        try:
            yield nodes
        finally:
            stop_all(nodes)


async def replaced_behind_nginx(node: Host, proxy: Nginx) -> float:
    """Stop it without draining: nginx does not check readiness, and skips a closed port."""
    return await node.stop_and_start()


async def replaced_behind_haproxy(node: Host, proxy: HAProxy) -> float:
    """Drain it, so that HAProxy notices."""
    await node.drain(node.deployment.drain_notice)
    return await node.stop_and_start()


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "replaced"),
    [(Nginx, replaced_behind_nginx), (HAProxy, replaced_behind_haproxy)],
    ids=["nginx", "haproxy"],
)
async def test_rolling_update_loses_no_call_and_no_event(
    cluster: list[Host], kind: type[Proxy], replaced: Callable[[Host, Proxy], Awaitable[float]]
) -> None:
    with kind([node.port for node in cluster]) as proxy:
        before = [node.pid for node in cluster]
        async with Load(proxy.port, CLIENTS) as load:
            for node in cluster[:REPLACED]:
                await load.more(CALLS)
                took = await replaced(node, proxy)
                print(f"{node.name}: {took:.1f} s, {load.calls} calls")
                assert took < node.deployment.drain
            await load.more(CALLS)
        # Load has checked that each call had its result once, and each stream its messages once and in order.
        assert sum(customer.retries for customer in load.customers) == 0
        now = [node.pid for node in cluster]
        assert [new != old for new, old in zip(now, before, strict=True)] == [True] * REPLACED + [False]
