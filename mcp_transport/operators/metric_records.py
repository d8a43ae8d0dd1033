"""What operators are told in JSON of nodes, of traffic, and of all sessions together."""

from __future__ import annotations

from typing import Any

from mcp_transport.backends.records import NodeRecord, Overview
from mcp_transport.domain.metrics import Histogram, Point, TrafficSummary

__all__ = ["node_record", "overview_record", "traffic_record"]


def node_record(node: NodeRecord) -> dict[str, Any]:
    """Describe a node."""
    return {
        "name": node.name,
        "host": node.host,
        "pid": node.pid,
        "calls": node.calls,
        "draining": node.draining,
        "age": node.age,
    }


def overview_record(known: Overview, *, all_processes: bool) -> dict[str, Any]:
    """Sum all sessions up; what is not known is null."""
    return {
        "all_processes": all_processes,
        "sessions": known.total,
        "opened": known.opened,
        "mean_duration": known.mean_duration,
        "median_duration": known.median_duration,
        "sampled": known.sampled,
        "memory": known.memory or None,
        "memory_limit": known.memory_limit or None,
        "clients": _counted(known, "client"),
        "users": _counted(known, "user"),
        "protocols": _counted(known, "protocol_version"),
        "nodes": _counted(known, "node"),
    }


def traffic_record(traffic: TrafficSummary, *, all_processes: bool) -> dict[str, Any]:
    """Describe what went on within the last minutes; of no calls there is no duration and no share, but null."""
    return {
        "all_processes": all_processes,
        "processes": traffic.processes,
        "seconds": traffic.seconds,
        **_tally_record(traffic, traffic.total),
        "operations": [
            {"operation": name, **_tally_record(traffic, tally)} for name, tally in traffic.operations.items()
        ],
        "protocols": [{"value": name, "calls": count} for name, count in traffic.versions.items()],
        "refused": [{"reason": name, "requests": count} for name, count in traffic.refused.items()],
        "opened": traffic.opened,
        "points": [_point_record(point) for point in traffic.points],
    }


def _counted(known: Overview, kind: str) -> list[dict[str, Any]]:
    return [{"value": value, "sessions": count} for value, count in known.values.get(kind, ())]


def _tally_record(traffic: TrafficSummary, tally: Histogram) -> dict[str, Any]:
    return {
        "calls": tally.calls,
        "errors": tally.errors,
        "calls_per_second": traffic.rate(tally.calls),
        "error_rate": tally.errors / tally.calls if tally.calls else None,
        "p95": tally.percentile(0.95) if tally.calls else None,
    }


def _point_record(point: Point) -> dict[str, Any]:
    return {
        "age": point.age,
        "calls_per_second": point.calls,
        "errors_per_second": point.errors,
        "p95": point.p95 or None,
        "streams": point.streams,
    }
