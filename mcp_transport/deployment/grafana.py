"""A Grafana dashboard; it is data, and so made without a template."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from mcp_transport.deployment.options import Deployment, Files

__all__ = ["files"]

# Grafana 12's; newer ones bring it up to date when they read it.
_SCHEMA: Final = 41
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS: Final = 24


@dataclass(frozen=True, slots=True)
class _Panel:
    """What a panel shows: queries by their legends."""

    title: str
    unit: str
    queries: dict[str, str]
    help: str = ""
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    limit: float | None = None
    """Above it things are bad."""


def files(deployment: Deployment) -> Files:
    """Emit the dashboard, to be imported or provisioned."""
    return {"dashboard.json": json.dumps(_dashboard(deployment), indent=2) + "\n"}


def _dashboard(d: Deployment) -> dict[str, Any]:
    return {
        # The same at each import, so that links stay good.
        "uid": "mcp-transport",
        "title": "Model Context Protocol",
        "description": "Calls, sessions, streams and nodes of django-mcp-transport.",
        "tags": ["mcp", "django"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": _variables(d)},
        "panels": _laid_out(_panels(d)),
    }


def _variables(d: Deployment) -> list[dict[str, Any]]:
    service = _asked("job", "Service", "label_values(mcp_transport_draining, job)")
    namespace = _asked("namespace", "Namespace", 'label_values(mcp_transport_draining{job=~"$job"}, namespace)')
    everywhere = {"text": "All", "value": "$__all"}
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        service | {"current": {"text": d.name, "value": d.name}},
        # Outside Kubernetes there is none, which .* matches, too.
        namespace | {"includeAll": True, "allValue": ".*", "current": everywhere},
    ]


def _asked(name: str, label: str, query: str) -> dict[str, Any]:
    """Return a variable whose values Prometheus knows."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
    }


def _panels(d: Deployment) -> list[_Panel]:
    limit = d.p95_milliseconds / 1000
    calls, errors = _rate("call_seconds_count"), _rate("call_errors_total")
    nodes = f"count({_read('draining')} == 0) or vector(0)"
    return [
        _Panel("Nodes", "none", {"": nodes}, "Those that can be read and do not drain.", "stat", 6, 4),
        _Panel("Calls", "reqps", {"": f"sum({calls})"}, "", "stat", 6, 4),
        _Panel("Failed calls", "percentunit", {"": f"sum({errors}) / sum({calls})"}, "", "stat", 6, 4, 0.05),
        _Panel("95 of 100 calls within", "s", {"": _p95()}, "Above the line nodes are added.", "stat", 6, 4, limit),
        _Panel("Calls by operation", "reqps", {"{{operation}}": f"sum by (operation) ({calls})"}),
        _Panel("95 of 100 calls within, by operation", "s", {"{{operation}}": _p95("operation")}, limit=limit),
        _Panel("Failed calls by operation", "reqps", {"{{operation}}": f"sum by (operation) ({errors}) > 0"}),
        _Panel(
            "Refused",
            "reqps",
            {"{{reason}}": f"sum by (reason) ({_rate('refused_total')})"},
            "By HTTP status; room: idle sessions that had to make room for others of their caller.",
        ),
        _Panel("Sessions opened", "reqps", {"opened": f"sum({_rate('sessions_opened_total')})"}),
        _Panel("Open streams by node", "none", {"{{instance}}": _read("streams")}, "Without subscriptions/listen."),
        _Panel("Running calls by node", "none", {"{{instance}}": _read("calls")}),
        _Panel(
            "Memory of bodies by node",
            "bytes",
            {"{{instance}}": _read("body_bytes")},
            "An estimate, with what is decoded from them; MAX_BYTES_IN_FLIGHT bounds it.",
        ),
        _Panel(
            "Nodes over time",
            "none",
            {"serving": nodes, "draining": f"sum({_read('draining')})"},
            f"From {d.nodes} to {d.most_nodes} are meant to run.",
            width=_COLUMNS,
        ),
        _Panel(
            "Events between nodes",
            "none",
            {"{{event}}": f"sum by (event) (increase({_read('events_total')}[$__rate_interval])) > 0"},
            "abandoned, lost and fenced cost somebody something; the how-to about metrics has them all.",
            width=_COLUMNS,
        ),
    ]


def _read(metric: str) -> str:
    return f'mcp_transport_{metric}{{job=~"$job", namespace=~"$namespace"}}'


def _rate(metric: str) -> str:
    return f"rate({_read(metric)}[$__rate_interval])"


def _p95(*labels: str) -> str:
    by = ", ".join([*labels, "le"])
    return f"histogram_quantile(0.95, sum by ({by}) ({_rate('call_seconds_bucket')}))"


def _laid_out(panels: list[_Panel]) -> list[dict[str, Any]]:
    """Lay panels out from left to right, in rows."""
    x = y = 0
    placed: list[dict[str, Any]] = []
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y = 0, y + placed[-1]["gridPos"]["h"]
        placed.append(_json(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x += panel.width
    return placed


def _json(panel: _Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
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
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}} if panel.kind == "timeseries" else {},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for at, (legend, expr) in enumerate(panel.queries.items())
        ],
    }
