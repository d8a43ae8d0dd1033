"""The rule about regions, with synthetic observations and with two real regions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mcp_transport.doctor import DoctorOptions, Finding, Status, evaluate, run_probes
from mcp_transport.doctor.observations import Observations, RegionObservation, Response, StreamObservation
from mcp_transport.doctor.rules import regions
from tests.doctor.conftest import PAGES, node
from tests.support.node import WarmNode
from tests.support.processes import start_all, stop_all
from tests.support.programs import need
from tests.support.redis.server import RedisServer

HERE, THERE = "https://eu.example/mcp", "https://us.example/mcp"
EU, US = {"x-mcp-region": "eu-west-1"}, {"x-mcp-region": "us-east-1"}
OPENED = Response(status=200, headers={**EU, "mcp-session-id": "secret"}, body=b"{}")
PONG = Response(status=200, headers=US)
STREAM = StreamObservation(replace(PONG, headers={**US, "content-type": "text/event-stream"}))
PAGE = "https://app.example"


def observe(other: RegionObservation | None = None, opened: Response = OPENED, page: str = "X-MCP-Region") -> Finding:
    urls = (THERE,) if other is not None else ()
    observed = Observations(options=DoctorOptions(url=HERE, regions=urls), initialize=opened)
    observed.regions = {THERE: other} if other is not None else {}
    observed.origins = {PAGE: Response(status=200, headers={**EU, "access-control-expose-headers": page})}
    return regions.regions(observed)


@pytest.mark.parametrize(
    ("finding", "status", "text"),
    [
        (observe(), "ok", "answered by eu-west-1; use --region"),
        (observe(RegionObservation(ping=PONG, resumed=STREAM)), "ok", "eu-west-1, us-east-1: a session of the first"),
        (observe(RegionObservation(ping=PONG)), "ok", "eu-west-1, us-east-1"),
        (observe(page="Mcp-Session-Id"), "warning", f"pages of {PAGE} cannot read the region"),
        (observe(opened=Response()), "unknown", "no session"),
        (observe(RegionObservation(ping=Response(failure="ConnectError"))), "problem", f"{THERE}: ConnectError"),
        (observe(RegionObservation(ping=replace(PONG, headers={}))), "problem", f"no X-MCP-Region from {THERE}"),
        (
            observe(RegionObservation(ping=PONG), opened=replace(OPENED, headers={"mcp-session-id": "s"})),
            "problem",
            f"no X-MCP-Region from {HERE}",
        ),
        (observe(RegionObservation(ping=replace(PONG, headers=EU))), "problem", f"{THERE}: eu-west-1"),
        (observe(RegionObservation(ping=replace(PONG, status=404))), "problem", "us-east-1 does not know a session"),
        (observe(RegionObservation(ping=replace(PONG, status=503))), "problem", "HTTP 503"),
        (
            observe(RegionObservation(ping=PONG, resumed=StreamObservation(replace(PONG, status=400)))),
            "problem",
            "us-east-1 does not resume",
        ),
    ],
)
def test_judgement(finding: Finding, status: str, text: str) -> None:
    assert finding.status == status, finding
    assert text in finding.observed
    assert bool(finding.fix) is (status in ("problem", "warning"))


def test_a_deployment_without_regions_has_no_such_finding() -> None:
    opened = Response(status=200, headers={"mcp-session-id": "s"}, body=b'{"jsonrpc": "2.0"}')
    observed = Observations(options=DoctorOptions(url=HERE), anonymous=opened, initialize=opened)
    assert "regions" not in [finding.id for finding in evaluate(observed)]


# -- two real regions ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> Iterator[list[WarmNode]]:
    """Run a node in each of two regions, and one in the second with another key."""
    need("redis-server")
    with RedisServer() as here, RedisServer() as there:
        settings = {"KEEPALIVE_SECONDS": 0.3}
        nodes = [
            node("daphne", {**settings, "REGION": "eu-west-1"}, REDIS_URL=here.url),
            node("daphne", {**settings, "REGION": "us-east-1"}, REDIS_URL=there.url),
            node(
                "daphne", {**settings, "REGION": "us-east-1"}, REDIS_URL=there.url, SITE_SECRET_KEY="another key" * 8
            ),
        ]
        start_all(nodes)
        yield nodes
        stop_all(nodes)


@pytest.mark.servers
@pytest.mark.parametrize(("other", "status"), [(1, Status.OK), (2, Status.PROBLEM)], ids=["same key", "another key"])
async def test_a_session_is_looked_for_in_the_other_region(pair: list[WarmNode], other: int, status: Status) -> None:
    options = DoctorOptions(url=pair[0].url, regions=(pair[other].url,), origins=(PAGES,), idle=1.0)
    observed = await run_probes(options)
    [finding] = [finding for finding in evaluate(observed) if finding.id == "regions"]
    assert finding.status is status, finding
    resumed = observed.regions[pair[other].url].resumed
    assert (resumed is not None and resumed.is_stream) is (status is Status.OK)
