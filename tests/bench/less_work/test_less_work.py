"""The shortest run of the bench, which judges no speed."""

from __future__ import annotations

import pytest

from tests.bench.less_work.__main__ import measured, tables
from tests.bench.less_work.scale import SHORTEST

pytestmark = [pytest.mark.slow, pytest.mark.servers]


def test_the_shortest_run_counts_less_work() -> None:
    found = measured(SHORTEST)
    plain, coalesced, batched = found["work"]
    assert plain["runs"] == plain["queries"] == SHORTEST.calls
    for less in (coalesced, batched):
        assert less["queries"] == less["runs"] < SHORTEST.calls
    assert all(row["works_again"] > 0 for row in found["failing"])
    assert "| coalesced |" in tables(found)
