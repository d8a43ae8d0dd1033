"""Every kind of call, in each project, behind each server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.projects.load import everything, fill
from tests.projects.matrix import every_project
from tests.projects.project import ERAS, MOUNT, VIEW, Site
from tests.projects.script import perform, side_by_side
from tests.projects.table import ANSWERS
from tests.projects.tally import Tally
from tests.projects.vitals import is_idle, left_behind, until_idle

pytestmark = pytest.mark.slow
Record = Callable[[str, object], None]
each_path = pytest.mark.parametrize("path", [VIEW, MOUNT], ids=["view", "mount"])


def judge(tally: Tally, record: Record) -> None:
    """Note how many answers came, and fail where one was wrong."""
    record(ANSWERS, tally.answers)
    assert not tally.wrong, str(tally)


@every_project()
@each_path
@pytest.mark.parametrize("era", ERAS)
async def test_each_kind_of_call_is_answered_rightly(
    site: Site, path: str, era: str, record_property: Record
) -> None:
    if path not in site.project.paths:
        pytest.skip("not served there")
    judge(await perform(site, path, era), record_property)


@every_project()
@each_path
async def test_two_hundred_calls_side_by_side_are_answered_rightly(
    site: Site, path: str, record_property: Record
) -> None:
    if path not in site.project.paths:
        pytest.skip("not served there")
    judge(await side_by_side(site, path, 200), record_property)


@every_project()
async def test_calls_that_clients_leave_or_cancel_leave_nothing_behind(site: Site) -> None:
    await fill(site)
    await everything(site)
    before = await until_idle(site)
    assert is_idle(site, before), before
    await everything(site)
    assert not (more := await left_behind(site, before)), more
