"""The dashboard's table of operations: sorted by any number, and explained where it has no names."""

from __future__ import annotations

import pytest

from mcp_transport.admin.dashboard import Dashboard
from mcp_transport.admin.dashboard_options import SORTS, DashboardOptions
from mcp_transport.admin.grids import Grid
from mcp_transport.domain.histogram import Histogram
from mcp_transport.domain.metrics import ProcessMetrics, aggregate


def tally(*seconds: float, errors: int = 0) -> Histogram:
    found = Histogram()
    for at, each in enumerate(seconds):
        found.add(each, failed=at < errors)
    return found


def operations(sort: str, **operations: Histogram) -> Grid:
    traffic = aggregate(
        [ProcessMetrics(operations={f"tools/call {name}": item for name, item in operations.items()})]
    )
    return Dashboard(overview=None, traffic=traffic, nodes=(), options=DashboardOptions(sort=sort)).grids()[0]


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("by", [name for name in SORTS if name != "calls_per_second"])
def test_operations_are_sorted(by: str, descending: bool) -> None:
    sort = f"-{by}" if descending else by
    grid = operations(sort, small=tally(0.1), large=tally(0.5, 0.5, 3.0, errors=3))
    names = [row[0].text.removeprefix("tools/call ") for row in grid.rows]
    assert names == (["large", "small"] if descending else ["small", "large"])
    [column] = [column for column in grid.columns if column.name == by]
    assert column.sorted == ("descending" if descending else "ascending")
    assert column.link == f"?sort={by if descending else f'-{by}'}"
    assert [column.link for column in grid.columns if column.name == "operation"] == [""]


def test_names_from_clients_are_explained() -> None:
    traffic = aggregate([ProcessMetrics(operations={"tools/call": tally(0.1, errors=1), "unknown": tally(0.1)})])
    grid = Dashboard(overview=None, traffic=traffic, nodes=()).grids()[0]
    assert [row[0].text for row in grid.rows] == [
        "tools/call (refused, or of an unknown tool)",
        "an unknown method",
    ]
