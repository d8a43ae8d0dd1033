"""Traffic and the sum of all sessions, over the REST API."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.api.conftest import ROOT, record, store

BROKEN = {
    "tool": "look",
    "state": "half-open",
    "since": "1970-01-01T00:00:01.000+00:00",
    "until": "1970-01-01T00:00:02.500+00:00",
    "processes": 1,
}


@pytest.fixture
def busy(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.api.test_schema.Busy"}


def test_traffic_is_rates_and_shares(busy: None, superuser: APIClient) -> None:
    told = superuser.get(f"{ROOT}metrics/").json()
    [operation] = told.pop("operations")
    for numbers in (told, operation):
        assert all(0.45 < numbers.pop(name) < 0.55 for name in ("p50", "p95", "max"))
    counted = {"calls": 1, "errors": 1, "calls_per_second": 0.1, "error_rate": 1.0}
    assert operation == {"operation": "tools/call look", **counted}
    assert 0.45 < told.pop("wait_p95") < 0.55
    before, now = told.pop("points")
    assert (before.pop("p95") > 0.45, now.pop("p95")) == (True, None)
    assert before == {"age": 5.0, "calls_per_second": 0.2, "errors_per_second": 0.2, "streams": 1}
    assert now == {"age": 0.0, "calls_per_second": 0.0, "errors_per_second": 0.0, "streams": 0}
    assert told == {
        "all_processes": False,
        "processes": 1,
        "seconds": 10.0,
        **counted,
        "protocols": [{"value": "2025-11-25", "calls": 1}],
        "refused": [{"reason": "401", "requests": 1}],
        "opened": 1,
        "coalesced": 0,
        "batched": 0,
        "batches": 0,
        "running": 1,
        "waiting": 4,
        "threads": 3,
        "lost_threads": 2,
        "waited": 1,
        "breakers": [BROKEN],
    }


def test_traffic_without_calls_has_no_shares(settings: Any, superuser: APIClient) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "memory"}
    told = superuser.get(f"{ROOT}metrics/").json()
    assert (told["calls"], told["error_rate"], told["p95"], told["operations"]) == (0, None, None, [])
    assert (told["waited"], told["wait_p95"]) == (0, None)


def test_sessions_are_summed_up(shared_cache: None, superuser: APIClient) -> None:
    store(*(record(at, user="ann" if at else "", node="here") for at in range(4)))
    told = superuser.get(f"{ROOT}overview/").json()
    # They begin long after these tests.
    assert told.pop("opened") == 4
    assert told == {
        "all_processes": True,
        "sessions": 4,
        "mean_duration": 1.5,
        "median_duration": 1.5,
        "sampled": 4,
        "memory": None,
        "memory_limit": None,
        "clients": [{"value": "desk 1", "sessions": 4}],
        "users": [{"value": "ann", "sessions": 3}, {"value": "", "sessions": 1}],
        "protocols": [{"value": "2025-11-25", "sessions": 4}],
        "nodes": [{"value": "here", "sessions": 4}],
    }
    assert superuser.get(f"{ROOT}metrics/").json()["all_processes"] is False, "counts are in each process"


def test_node_tells_how_old_its_lease_is(busy: None, superuser: APIClient) -> None:
    [node] = superuser.get(f"{ROOT}nodes/").json()["results"]
    load = {"waiting": 4, "threads": 3, "lost_threads": 2}
    assert node == {"name": "here", "host": "host", "pid": 7, "calls": 1, **load, "draining": True, "age": 0.5}
