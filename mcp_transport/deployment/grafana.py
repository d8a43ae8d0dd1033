"""Target `grafana`: a dashboard, built as data and not from a template."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from mcp_transport.deployment.options import Deployment, Files

__all__ = ["files"]

# The version of Grafana 12; newer versions migrate it on import.
_SCHEMA_VERSION: Final = 41
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS: Final = 24


@dataclass(frozen=True, slots=True)
class _Panel:
    """A panel; `queries` maps legends to PromQL."""

    title: str
    unit: str
    queries: dict[str, str]
    help: str = ""
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    limit: float | None = None
    """The threshold above which the value is bad."""


def files(deployment: Deployment) -> Files:
    """Return the dashboard, to be imported or provisioned."""
    return {"dashboard.json": json.dumps(_dashboard(deployment), indent=2) + "\n"}


def _dashboard(d: Deployment) -> dict[str, Any]:
    return {
        # Fixed, so that links survive a new import.
        "uid": "mcp-transport",
        "title": "Model Context Protocol",
        "description": "Calls, sessions, streams and nodes of django-mcp-transport.",
        "tags": ["mcp", "django"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": _variables(d)},
        "panels": _layout(_panels(d)),
    }


def _variables(d: Deployment) -> list[dict[str, Any]]:
    service = _variable("job", "Service", "label_values(mcp_transport_draining, job)")
    namespace = _variable("namespace", "Namespace", 'label_values(mcp_transport_draining{job=~"$job"}, namespace)')
    all_namespaces = {"text": "All", "value": "$__all"}
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        service | {"current": {"text": d.name, "value": d.name}},
        # Outside Kubernetes there is no namespace label, which .* also matches.
        namespace | {"includeAll": True, "allValue": ".*", "current": all_namespaces},
    ]


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    """Return a dashboard variable whose values come from a Prometheus query."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
    }


_P95_HELP: Final = "Of all operations. The autoscaler adds nodes if those of --p95-operations are above the line."


def _panels(d: Deployment) -> list[_Panel]:
    limit = d.p95_milliseconds / 1000
    calls, errors = _rate("call_seconds_count"), _rate("call_errors_total")
    nodes = f"count({_selector('draining')} == 0) or vector(0)"
    return [
        _Panel("Nodes", "none", {"": nodes}, "Scraped nodes that do not drain.", "stat", 6, 4),
        _Panel("Calls", "reqps", {"": f"sum({calls})"}, "", "stat", 6, 4),
        _Panel("Failed calls", "percentunit", {"": f"sum({errors}) / sum({calls})"}, "", "stat", 6, 4, 0.05),
        _Panel("p95 latency", "s", {"": _p95()}, _P95_HELP, "stat", 6, 4, limit),
        _Panel("Calls by operation", "reqps", {"{{operation}}": f"sum by (operation) ({calls})"}),
        _Panel("p95 latency by operation", "s", {"{{operation}}": _p95("operation")}, limit=limit),
        _Panel(
            "p95 latency by tool and era",
            "s",
            {"{{tool}} ({{era}})": _p95("tool", "era", metric="tool_seconds")},
            "session: the revisions up to 2025-11-25; sessionless: 2026-07-28.",
            limit=limit,
        ),
        _Panel("Failed calls by operation", "reqps", {"{{operation}}": f"sum by (operation) ({errors}) > 0"}),
        _Panel(
            "Refused requests",
            "reqps",
            {"{{reason}}": f"sum by (reason) ({_rate('refused_total')})"},
            "By HTTP status or limit; room: idle sessions evicted because their caller reached its session limit.",
        ),
        *_load_panels(),
        _Panel("Sessions opened", "reqps", {"opened": f"sum({_rate('sessions_opened_total')})"}),
        _Panel("Sessions", "none", {"live": f"max({_selector('sessions')})"}, "All sessions of the store."),
        *_panels_by_node(d),
        _Panel(
            "Nodes over time",
            "none",
            {"serving": nodes, "draining": f"sum({_selector('draining')})"},
            f"Configured: {d.min_replicas} to {d.max_replicas} nodes.",
            width=_COLUMNS,
        ),
        _Panel(
            "Events between nodes",
            "none",
            {"{{event}}": f"sum by (event) (increase({_selector('events_total')}[$__rate_interval])) > 0"},
            "abandoned, lost and fenced affect clients; see the list of events in the documentation of the metrics.",
            width=_COLUMNS,
        ),
    ]


def _load_panels() -> list[_Panel]:
    batches = f"sum by (tool) ({_rate('batch_calls_count')})"
    return [
        _Panel("Requests coalesced", "reqps", {"coalesced": f"sum({_rate('coalesced_total')})"}),
        _Panel(
            "Calls in a batch",
            "none",
            {"{{tool}}": f"sum by (tool) ({_rate('batch_calls_sum')}) / {batches}"},
            "Of each batched tool, on average.",
        ),
        _Panel("Batches", "reqps", {"{{tool}}": batches}),
        _Panel("p95 wait for a batch", "s", {"{{tool}}": _p95("tool", metric="batch_wait_seconds")}),
        _Panel(
            "Circuit breakers",
            "none",
            {"{{tool}}": f"max by (tool) ({_selector('circuit_breaker_state')})"},
            "0 closed, 1 half-open, 2 open: calls of the tool are refused, since too many have failed.",
        ),
        _Panel(
            "Circuit breakers: refused calls and openings",
            "reqps",
            {
                "{{tool}} refused": f"sum by (tool) ({_rate('circuit_breaker_refused_total')}) > 0",
                "{{tool}} opened": f"sum by (tool) ({_rate('circuit_breaker_opened_total')}) > 0",
            },
        ),
    ]


def _panels_by_node(d: Deployment) -> list[_Panel]:
    threads = d.policy.tool_threads
    return [
        _Panel(
            "Sessions by node",
            "none",
            {"{{instance}}": _selector("node_sessions")},
            "Served within the last five minutes; a session that two nodes have served counts on both.",
        ),
        _Panel(
            "Memory by node",
            "bytes",
            {"{{instance}}": _selector("memory_bytes"), "limit": f"min({_selector('memory_limit_bytes')})"},
            "Resident memory, and the limit of the container, if it has one.",
        ),
        _Panel(
            "Open streams by node", "none", {"{{instance}}": _selector("streams")}, "Without subscriptions/listen."
        ),
        _Panel("Running calls by node", "none", {"{{instance}}": _selector("calls")}),
        _Panel("Waiting calls by node", "none", {"{{instance}}": _selector("calls_waiting")}),
        _Panel(
            "p95 wait",
            "s",
            {"": _p95(metric="wait_seconds")},
            f"Of the calls that could not run at once; after {d.policy.queue_timeout:g} s a call is refused.",
        ),
        _Panel(
            "Threads in use by node",
            "none",
            {"{{instance}}": _selector("tool_threads")},
            f"Of synchronous functions; the limit is TOOL_THREADS, {threads}.",
            limit=threads,
        ),
        _Panel(
            "Threads lost by node",
            "none",
            {"{{instance}}": _selector("tool_threads_lost")},
            "Their calls have ended, but their functions have not returned. At the line no synchronous tool can run.",
            limit=threads,
        ),
        _Panel(
            "Memory of request bodies by node",
            "bytes",
            {"{{instance}}": _selector("body_bytes")},
            "Estimated, with their decoded content; the limit is MAX_BYTES_IN_FLIGHT.",
        ),
    ]


def _selector(metric: str) -> str:
    return f'mcp_transport_{metric}{{job=~"$job", namespace=~"$namespace"}}'


def _rate(metric: str) -> str:
    return f"rate({_selector(metric)}[$__rate_interval])"


def _p95(*labels: str, metric: str = "call_seconds") -> str:
    by = ", ".join([*labels, "le"])
    return f"histogram_quantile(0.95, sum by ({by}) ({_rate(metric + '_bucket')}))"


def _layout(panels: list[_Panel]) -> list[dict[str, Any]]:
    """Arrange panels from left to right, in rows."""
    x = y = 0
    placed: list[dict[str, Any]] = []
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y = 0, y + placed[-1]["gridPos"]["h"]
        placed.append(_json(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x += panel.width
    return placed


def _json(panel: _Panel, number: int, grid_position: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    defaults = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        style = "off" if panel.limit is None else "line"
        defaults["custom"] = {"thresholdsStyle": {"mode": style}, "showPoints": "never", "fillOpacity": 10}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _DATASOURCE,
        "gridPos": grid_position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}} if panel.kind == "timeseries" else {},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _DATASOURCE, "expr": expr, "legendFormat": legend}
            for at, (legend, expr) in enumerate(panel.queries.items())
        ],
    }
