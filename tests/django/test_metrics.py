"""What Prometheus reads: the endpoint's own numbers at the time of the scrape, and what documents them."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.test import AsyncClient, Client
from django.urls import include, path, reverse
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from mcp_transport import bootstrap, metrics, tool
from mcp_transport.declarations import Declarations
from mcp_transport.domain.history import Ending
from mcp_transport.engine.observer import _LOG_LINES, ClusterEvent
from mcp_transport.metrics import EndpointCollector
from tests.support.calls import opened
from tests.support.clock import settle
from tests.support.docs import table
from tests.support.project import Serve

ROOT = Path(__file__).parents[2]
OURS = [
    "mcp_transport_events",
    "mcp_transport_call_seconds",
    "mcp_transport_call_errors",
    "mcp_transport_wait_seconds",
    "mcp_transport_refused",
    "mcp_transport_sessions_opened",
    "mcp_transport_tool_seconds",
    "mcp_transport_sessions",
    "mcp_transport_node_sessions",
    "mcp_transport_batch_calls",
    "mcp_transport_batch_wait_seconds",
    "mcp_transport_streams",
    "mcp_transport_calls",
    "mcp_transport_calls_waiting",
    "mcp_transport_tool_threads",
    "mcp_transport_tool_threads_lost",
    "mcp_transport_body_bytes",
    "mcp_transport_draining",
    "mcp_transport_memory_bytes",
    "mcp_transport_memory_limit_bytes",
]

urlpatterns = [path("mcp", include("mcp_transport.urls")), path("", include("mcp_transport.metrics"))]


@pytest.fixture(autouse=True)
def urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


async def scraped(accept: str = "", parse: Any = read_text) -> dict[str, Metric]:
    response = await AsyncClient().get("/metrics", headers={"accept": accept})
    assert response.status_code == 200
    return {family.name: family for family in parse(response.content.decode())}


async def gauges() -> tuple[float, ...]:
    families = await scraped()
    return tuple(families[f"mcp_transport_{name}"].samples[0].value for name in ("streams", "calls", "draining"))


# -- the numbers -----------------------------------------------------------------------------------------


async def test_every_event_is_there_before_it_happened() -> None:
    samples = (await scraped())["mcp_transport_events"].samples
    assert [(sample.name, sample.labels, sample.value) for sample in samples] == [
        ("mcp_transport_events_total", {"event": str(event)}, 0) for event in ClusterEvent
    ]


async def test_what_observer_and_meter_have_counted_is_what_is_scraped(serve: Serve) -> None:
    observer, meter = serve().observer, serve().call_metrics
    for _ in range(3):
        observer.report(ClusterEvent.REHYDRATED, "A" * 26)
    observer.report(ClusterEvent.NODE_LOST, node="n1")
    for reason in ("404", "404", "room"):
        meter.record_refusal(reason)
    families = await scraped()
    events = {sample.labels["event"]: sample.value for sample in families["mcp_transport_events"].samples}
    assert {event: count for event, count in events.items() if count} == {"rehydrated": 3, "node_lost": 1}
    refused = families["mcp_transport_refused"].samples
    assert {sample.labels["reason"]: sample.value for sample in refused} == {"404": 2, "room": 1}


async def test_streams_and_calls_are_counted_while_they_are_open_and_draining_while_it_is(
    serve: Serve, declarations: Declarations
) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    @tool
    async def wait() -> str:
        entered.set()
        await leave.wait()
        return "done"

    assert await gauges() == (0, 0, 0)
    node = await serve().pool.node()
    assert await gauges() == (0, 0, 0)
    clients = [await opened(serve()) for _ in range(2)]
    answers = [await client.get() for client in clients]
    pending = asyncio.ensure_future(clients[0].call("wait"))
    async with asyncio.timeout(60):
        await entered.wait()
        assert (await gauges())[1] == 1
        leave.set()
        await pending
    assert await gauges() == (2, 0, 0)
    for answer in answers:
        answer.close()
    await settle()
    node.is_draining = True
    assert await gauges() == (0, 0, 1)


async def test_nodes_of_all_loops_are_added_up(serve: Serve) -> None:
    client = await opened(serve())
    await client.get()
    [node] = serve().pool.nodes
    serve().pool._started[other := asyncio.new_event_loop()] = node
    assert serve().pool.nodes == (node, node)
    assert (await gauges())[0] == 2
    other.close()
    assert serve().pool.nodes == (node,)
    assert (await gauges())[0] == 1


async def test_node_that_could_not_start_counts_as_none(serve: Serve) -> None:
    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    serve().pool._starting[asyncio.get_running_loop()] = failed
    assert serve().pool.nodes == ()
    failed.set_exception(RuntimeError("no lifespan"))
    assert serve().pool.nodes == ()
    del serve().pool._starting[asyncio.get_running_loop()]


async def test_durations_are_a_histogram_by_operation(serve: Serve) -> None:
    for seconds, ending in ((0.004, Ending.OK), (0.09, Ending.ERROR), (0.09, Ending.OK), (120.0, Ending.LOST)):
        serve().call_metrics.record_call("tools/call buy", "v", time.time(), seconds, ending)
    samples = (await scraped())["mcp_transport_call_seconds"].samples
    assert {sample.labels["operation"] for sample in samples} == {"tools/call buy"}
    buckets = {sample.labels["le"]: sample.value for sample in samples if sample.name.endswith("_bucket")}
    assert [float(bound) for bound in buckets] == sorted(float(bound) for bound in buckets)
    assert list(buckets.values()) == sorted(buckets.values())
    assert [buckets[bound] for bound in ("0.005", "0.075", "0.1", "60.0", "+Inf")] == [1, 1, 3, 3, 4]
    assert {sample.name[-5:]: sample.value for sample in samples[-2:]} == {
        "count": 4,
        "s_sum": pytest.approx(120.184),
    }
    [errors] = (await scraped())["mcp_transport_call_errors"].samples
    assert (errors.name, errors.value) == ("mcp_transport_call_errors_total", 2)


async def test_calls_that_were_served_are_counted_and_names_that_clients_think_of_as_one(
    serve: Serve, declarations: Declarations
) -> None:
    tool(name="greet")(lambda: "hello")
    client = await opened(serve())
    for number in range(150):
        await client.request(f"m/{number}")
    await client.call("greet")
    await settle()
    families = await scraped()
    samples = families["mcp_transport_call_seconds"].samples
    counts = {sample.labels["operation"]: sample.value for sample in samples if sample.name.endswith("_count")}
    assert (counts["tools/call greet"], counts["unknown"]) == (1, 150)
    assert families["mcp_transport_sessions_opened"].samples[0].value == 1


def promtool(*words: str, text: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if not found:
        missing = "promtool is missing; Debian and Ubuntu have it in the package prometheus"
        (pytest.fail if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"} else pytest.skip)(missing)
    return subprocess.run([found, *words], input=text, capture_output=True, text=True, timeout=60)  # noqa: S603


@pytest.mark.servers
async def test_promtool_finds_no_fault(serve: Serve) -> None:
    serve().call_metrics.record_call('tools/call a"\\\n', "v", time.time(), 0.1, Ending.ERROR)
    serve().call_metrics.record_refusal("404")
    serve().call_metrics.record_wait(0.1)
    text = (await AsyncClient().get("/metrics")).content.decode()
    checked = promtool("check", "metrics", text=text)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert promtool("check", "metrics", text=text.replace("_opened_total", "_opened")).returncode


# -- the view --------------------------------------------------------------------------------------------


OPEN = "application/openmetrics-text; version=1.0.0"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("", PLAIN, read_text),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", PLAIN, read_text),
        ("application/openmetrics-text;version=1.0.0", OPEN, read_openmetrics),
    ],
)
async def test_format_is_the_one_that_is_asked_for(accept: str, content_type: str, parse: Any) -> None:
    response = await AsyncClient().get(reverse("mcp-metrics"), headers={"accept": accept})
    assert response["Content-Type"].startswith(content_type)
    assert "no-store" in response["Cache-Control"]
    assert set(OURS) <= set(await scraped(accept, parse))


def test_wsgi_serves_them_too_and_an_odd_version_of_the_format_is_no_fault() -> None:
    assert b"mcp_transport_draining 0.0\n" in Client().get("/metrics").content
    for version in ("x", "1.0a", "a.b", "", "9999.9"):
        accept = f"application/openmetrics-text; version={version}"
        assert Client(raise_request_exception=False).get("/metrics", headers={"accept": accept}).status_code == 200


async def test_numbers_of_the_project_are_served_with_ours() -> None:
    gauge = Gauge("shop_orders", "Orders that wait.")
    try:
        assert {"shop_orders", *OURS} <= set(await scraped())
    finally:
        REGISTRY.unregister(gauge)


def test_registering_builds_no_endpoint_twice_is_refused_and_a_scrape_can_name_what_it_wants() -> None:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(EndpointCollector())
    assert bootstrap._endpoint is None
    with pytest.raises(ValueError, match="mcp_transport_"):
        registry.register(EndpointCollector())
    [family] = registry.restricted_registry(["mcp_transport_draining"]).collect()
    assert family.name == "mcp_transport_draining"


# -- without prometheus-client ---------------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
import django
django.setup()
from django.test import Client, override_settings
from django.urls import include, path
urls = (path("", include("mcp_transport.metrics")), path("", include("mcp_transport.health")))
with override_settings(ROOT_URLCONF=urls):
    answer = Client().get("/metrics")
    print(answer.status_code, answer["Content-Type"], answer.content.decode().strip())
    print(Client().get("/healthz").status_code)
"""


@pytest.mark.slow
def test_without_prometheus_client_the_answer_says_what_is_missing() -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", WITHOUT],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "tests.support.settings", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    missing = 'There are no metrics: install "django-mcp-transport[metrics]", which brings prometheus-client.'
    assert done.stdout.splitlines() == [f"404 text/plain; charset=utf-8 {missing}", "200"], done.stderr


# -- the page about them ---------------------------------------------------------------------------------


def test_every_metric_is_documented_as_it_is() -> None:
    documented = [(row[0].removesuffix("_total"), row[1]) for row in table("howto/metrics.md", "Metric")]
    assert documented == [(family.name, family.type) for family in metrics._metric_families(None)]


def test_every_event_is_documented_with_its_level() -> None:
    documented = [(row[0], row[1]) for row in table("howto/metrics.md", "Event")]
    assert documented == [(name, logging.getLevelName(level)) for name, (level, _) in _LOG_LINES.items()]


def test_line_that_is_shown_is_what_is_logged() -> None:
    assert (
        f"\nrehydrated: {_LOG_LINES[ClusterEvent.REHYDRATED][1]} session="
        in (ROOT / "docs/howto/metrics.md").read_text()
    )
