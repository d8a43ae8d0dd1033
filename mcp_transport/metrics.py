"""Numbers for Prometheus: `path("", include("mcp_transport.metrics"))` serves `/metrics`.

Each process answers for itself, so scrape every worker on a port of its own: prometheus-client's multiprocess mode
(`PROMETHEUS_MULTIPROC_DIR`) adds up what is counted in its files, and these numbers are read when they are asked for.
Without prometheus-client, the extra `metrics`, everything else works.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, cast

from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.urls import path
from django.views.decorators.cache import never_cache

from mcp_transport.bootstrap import Misconfigured, endpoint
from mcp_transport.domain.metrics import Counters
from mcp_transport.views import for_machines

try:
    from prometheus_client import REGISTRY, core, exposition, registry
except ImportError:
    _is_installed = False
else:
    _is_installed = True

if TYPE_CHECKING:
    from mcp_transport.engine.endpoint import Endpoint

__all__ = ["EndpointCollector", "metrics", "urlpatterns"]

_MISSING: Final = 'There are no metrics: install "django-mcp-transport[metrics]", which brings prometheus-client.\n'


# Upper bounds of the histogram's buckets, in seconds; more of them where a target for a percentile is likely to be.
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class EndpointCollector:
    """Reads this process's numbers at each scrape; it is registered in prometheus-client's own registry."""

    def describe(self) -> Iterator[core.Metric]:
        """Name the metrics, before there is an endpoint."""
        return _families(None)

    def collect(self) -> Iterator[core.Metric]:
        """Read the numbers; there are none while the settings cannot be used."""
        try:
            return _families(endpoint())
        except Misconfigured:
            return _families(None)


def _families(served: Endpoint | None) -> Iterator[core.Metric]:
    """Yield each metric."""
    events = core.CounterMetricFamily(
        "mcp_transport_events", "What happened to sessions, streams, calls and nodes.", labels=["event"]
    )
    for event, count in served.observer.counts.items() if served else ():
        events.add_metric([event], count)
    yield events
    yield from _counted(served.call_metrics.since_start() if served else Counters())
    nodes = served.nodes if served else ()
    gauges = {
        "streams": ("Streams of sessions whose socket is open.", sum(len(node.streams) for node in nodes)),
        "calls": ("Requests being run.", sum(len(node.running) for node in nodes)),
        "body_bytes": ("Memory that bodies of requests take.", served.budget.reserved_bytes if served else 0),
        "draining": ("Is the process about to stop?", any(node.is_draining for node in nodes)),
    }
    for name, (help, value) in gauges.items():
        yield core.GaugeMetricFamily(f"mcp_transport_{name}", help, value)


def _counted(counted: Counters) -> Iterator[core.Metric]:
    """Yield what the meter has counted since the process began."""
    seconds = core.HistogramMetricFamily(
        "mcp_transport_call_seconds", "How long calls took, to a tenth.", labels=["operation"]
    )
    errors = core.CounterMetricFamily("mcp_transport_call_errors", "Calls that failed.", labels=["operation"])
    for operation, tally in counted.operations.items():
        buckets = [(repr(bound), tally.count_within(bound)) for bound in _BOUNDS]
        seconds.add_metric([operation], [*buckets, ("+Inf", tally.calls)], tally.seconds)
        errors.add_metric([operation], tally.errors)
    refused = core.CounterMetricFamily("mcp_transport_refused", "Requests not let in.", labels=["reason"])
    for reason, count in counted.refused.items():
        refused.add_metric([reason], count)
    opened = core.CounterMetricFamily("mcp_transport_sessions_opened", "New sessions.", value=counted.opened)
    yield from (seconds, errors, refused, opened)


@for_machines
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Write what is registered with prometheus-client; not async, since a project's own collectors may block."""
    if not _is_installed:
        return HttpResponseNotFound(_MISSING, content_type="text/plain; charset=utf-8")
    try:
        write, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
    except (TypeError, ValueError):  # for a version that is no number
        write, content_type = exposition.choose_encoder("")
    return HttpResponse(write(REGISTRY), content_type=content_type)


if _is_installed:
    REGISTRY.register(cast("registry.Collector", EndpointCollector()))

urlpatterns = [path("metrics", metrics, name="mcp-metrics")]
