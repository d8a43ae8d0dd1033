"""Metrics for Prometheus: `path("", include("mcp_transport.metrics"))` serves `/metrics`.

Each process returns its own metrics, so scrape every worker on a port of its own: the multiprocess mode of
prometheus-client (`PROMETHEUS_MULTIPROC_DIR`) adds up counts in files, but these metrics are collected at the scrape.
Only `/metrics` needs prometheus-client, the extra `metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, cast

from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.urls import path
from django.views.decorators.cache import never_cache

from mcp_transport.backends.records import SessionCounts
from mcp_transport.bootstrap import Misconfigured, endpoint
from mcp_transport.discovery import declared
from mcp_transport.domain.circuit_breaker import BreakerState
from mcp_transport.domain.metrics import Counters, Histogram
from mcp_transport.process.memory import memory_limit_bytes, resident_bytes
from mcp_transport.views import machine_view

try:
    from prometheus_client import REGISTRY, core, exposition, registry
except ImportError:
    _is_installed = False
else:
    _is_installed = True

if TYPE_CHECKING:
    from mcp_transport.batching import BatchCounts
    from mcp_transport.engine.endpoint import Endpoint

__all__ = ["EndpointCollector", "metrics", "urlpatterns"]

_MISSING: Final = 'There are no metrics: install "django-mcp-transport[metrics]", which brings prometheus-client.\n'


# Upper bounds of the histogram's buckets, closer together where targets for percentiles are likely.
_BOUNDS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BOUNDS_CALLS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class EndpointCollector:
    """Collects the metrics of this process at each scrape; registered in prometheus-client's own registry."""

    def describe(self) -> Iterator[core.Metric]:
        """Return the metrics without samples: the endpoint may not exist yet."""
        return _metric_families(None)

    def collect(self) -> Iterator[core.Metric]:
        """Return the metrics, without samples while the settings are invalid."""
        try:
            return _metric_families(endpoint())
        except Misconfigured:
            return _metric_families(None)


def _metric_families(served: Endpoint | None) -> Iterator[core.Metric]:
    """Yield each metric."""
    events = core.CounterMetricFamily(
        "mcp_transport_events", "Events of sessions, streams, calls and nodes.", labels=["event"]
    )
    for event, count in served.observer.counts.items() if served else ():
        events.add_metric([event], count)
    yield events
    yield from _call_metrics(served.call_metrics.since_start() if served else Counters())
    yield _tool_durations(served.call_metrics.tools_since_start() if served else {})
    yield from _session_metrics(served.backend.bus.session_counts() if served else SessionCounts())
    yield from _batch_metrics(_batch_counts() if served else {})
    held = served.pool.gauges() if served else None
    gauges = {
        "streams": ("Open streams of sessions.", held.streams if held else 0),
        "calls": ("Running requests.", held.calls if held else 0),
        "calls_waiting": ("Calls that wait until they may run.", held.waiting_calls if held else 0),
        "tool_threads": ("Threads in which synchronous functions run.", held.threads if held else 0),
        "tool_threads_lost": ("Threads whose calls have ended.", held.lost_threads if held else 0),
        "body_bytes": ("Memory reserved for request bodies.", served.budget.reserved_bytes if served else 0),
        "draining": ("1 while the process drains.", held is not None and held.is_draining),
    }
    for name, (help, value) in gauges.items():
        yield core.GaugeMetricFamily(f"mcp_transport_{name}", help, value)
    yield _gauge("memory_bytes", "Resident memory of this process.", resident_bytes())
    yield _gauge("memory_limit_bytes", "Memory limit of its container.", memory_limit_bytes())
    yield from _breaker_metrics(served)


def _session_metrics(counts: SessionCounts) -> Iterator[core.Metric]:
    yield _gauge("sessions", "Live sessions in the store; the same in each process.", counts.total)
    yield _gauge("node_sessions", "Sessions that this process serves.", counts.served)


def _gauge(name: str, help: str, value: float | None) -> core.Metric:
    """Return a gauge, without a sample if its value is unknown."""
    return core.GaugeMetricFamily(f"mcp_transport_{name}", help, value)


def _tool_durations(by_tool: dict[tuple[str, str], Histogram]) -> core.Metric:
    """Return the durations of tool calls since the process started."""
    seconds = core.HistogramMetricFamily(
        "mcp_transport_tool_seconds", "Duration of tool calls, accurate to a tenth.", labels=["tool", "era"]
    )
    for labels, histogram in by_tool.items():
        seconds.add_metric([*labels], _buckets(histogram), histogram.seconds)
    return seconds


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the cumulative counts of the buckets."""
    bounds = [(repr(bound), float(histogram.count_within(bound))) for bound in _BOUNDS_SECONDS]
    return [*bounds, ("+Inf", float(histogram.calls))]


def _breaker_metrics(served: Endpoint | None) -> Iterator[core.Metric]:
    """Yield the metrics of circuit breakers, of the tools that have one and have been called."""
    state = core.GaugeMetricFamily(
        "mcp_transport_circuit_breaker_state", "0 closed, 1 half-open, 2 open.", labels=["tool"]
    )
    opened = core.CounterMetricFamily("mcp_transport_circuit_breaker_opened", "Openings.", labels=["tool"])
    refused = core.CounterMetricFamily("mcp_transport_circuit_breaker_refused", "Refused calls.", labels=["tool"])
    if served is not None:
        for tool, current in served.breakers.states().items():
            state.add_metric([tool], list(BreakerState).index(current))
            opened.add_metric([tool], served.breakers.opened[tool])
            refused.add_metric([tool], served.breakers.refused[tool])
    yield from (state, opened, refused)


def _call_metrics(counted: Counters) -> Iterator[core.Metric]:
    """Yield the call metrics since the process started."""
    seconds = core.HistogramMetricFamily(
        "mcp_transport_call_seconds", "Duration of calls, accurate to a tenth.", labels=["operation"]
    )
    errors = core.CounterMetricFamily("mcp_transport_call_errors", "Failed calls.", labels=["operation"])
    for operation, histogram in counted.operations.items():
        seconds.add_metric([operation], _buckets(histogram), histogram.seconds)
        errors.add_metric([operation], histogram.errors)
    waits = core.HistogramMetricFamily("mcp_transport_wait_seconds", "How long calls waited until they could run.")
    waits.add_metric([], _buckets(counted.waits), counted.waits.seconds)
    refused = core.CounterMetricFamily("mcp_transport_refused", "Refused requests.", labels=["reason"])
    for reason, count in counted.refused.items():
        refused.add_metric([reason], count)
    opened = core.CounterMetricFamily("mcp_transport_sessions_opened", "New sessions.", value=counted.opened)
    coalesced = core.CounterMetricFamily(
        "mcp_transport_coalesced", "Requests answered by the run of an equal one.", value=counted.coalesced
    )
    yield from (seconds, errors, waits, refused, opened, coalesced)


def _batch_counts() -> dict[str, BatchCounts]:
    """Return the counts of the batched tools, by name."""
    from mcp_transport.batched_tools import batch_metrics  # imports the SDK, as the endpoint does

    tools = declared().tools.values()
    return {tool.name: metrics.counts() for tool in tools if (metrics := batch_metrics(tool.fn)) is not None}


def _batch_metrics(counts: dict[str, BatchCounts]) -> Iterator[core.Metric]:
    """Yield the metrics of the batched tools since the process started."""
    sizes = core.HistogramMetricFamily("mcp_transport_batch_calls", "Calls of each batch.", labels=["tool"])
    waits = core.HistogramMetricFamily(
        "mcp_transport_batch_wait_seconds", "How long calls waited until their batch ran.", labels=["tool"]
    )
    for tool, counted in counts.items():
        calls = counted.sizes.items()
        within = [(repr(float(bound)), sum(n for size, n in calls if size <= bound)) for bound in _BOUNDS_CALLS]
        within.append(("+Inf", counted.sizes.total()))
        sizes.add_metric([tool], within, sum(size * n for size, n in calls))
        waits.add_metric([tool], _buckets(counted.waits), counted.waits.seconds)
    yield from (sizes, waits)


@machine_view
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics of prometheus-client's registry; not async, since a project's own collectors may block."""
    if not _is_installed:
        return HttpResponseNotFound(_MISSING, content_type="text/plain; charset=utf-8")
    try:
        write, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
    except (TypeError, ValueError):  # for a malformed version
        write, content_type = exposition.choose_encoder("")
    return HttpResponse(write(REGISTRY), content_type=content_type)


if _is_installed:
    REGISTRY.register(cast("registry.Collector", EndpointCollector()))

urlpatterns = [path("metrics", metrics, name="mcp-metrics")]
