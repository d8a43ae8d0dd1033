"""Every kind of call, in each project, behind each server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.projects.load import everything, fill
from tests.projects.matrix import every_project
from tests.projects.project import Site
from tests.projects.script import perform, side_by_side
from tests.projects.table import ANSWERS, Tally
from tests.projects.vitals import growth

pytestmark = [pytest.mark.servers, pytest.mark.slow]
Record = Callable[[str, object], None]


def judge(tally: Tally, record: Record) -> None:
    """Note how many answers came, and fail where one was wrong."""
    record(ANSWERS, tally.answers)
    if tally.wrong:
        pytest.fail(str(tally), pytrace=False)


@every_project()
async def test_each_kind_of_call_is_answered_rightly(site: Site, record_property: Record) -> None:
    judge(await perform(site), record_property)


@every_project()
async def test_two_hundred_calls_side_by_side_are_answered_rightly(site: Site, record_property: Record) -> None:
    judge(await side_by_side(site, 200), record_property)


@every_project()
async def test_calls_that_clients_leave_or_cancel_leave_nothing_behind(site: Site) -> None:
    await fill(site)
    assert not (more := await growth(site, everything)), more
