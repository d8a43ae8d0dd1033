"""The page of limits says what the code does: each row has a case, and each case a row."""

from __future__ import annotations

import pytest

from mcp_transport import conf
from tests.limits import bodies, elsewhere, headers, processes, sessions  # noqa: F401 (they register their cases)
from tests.limits.cases import CASES, Stage
from tests.limits.page import Row, rows

ROWS = rows()
SLOW = {"JSON values in a body, counted before it is decoded", "subscribed resources of a session"}


def test_each_row_has_a_case_and_each_case_a_row() -> None:
    assert sorted(row.what for row in ROWS) == sorted(CASES)


@pytest.mark.parametrize("row", [row for row in ROWS if row.setting], ids=lambda row: row.what)
def test_a_limit_with_a_setting_is_its_default(row: Row) -> None:
    assert conf.SETTINGS[row.setting].default == row.number


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.what, marks=[pytest.mark.slow] * (row.what in SLOW)) for row in ROWS]
)
async def test_a_limit_is_kept_and_answered_as_documented(row: Row, stage: Stage) -> None:
    case = CASES[row.what]
    assert case.limit == row.number
    answer = await case.run(stage)
    if answer is not None:
        outcome = f"{answer.status}, {answer.error_code}"
        assert row.answer.startswith(outcome), (outcome, answer.body[:300])
        assert len(answer.body) < 1000
        assert "session" not in answer.headers
