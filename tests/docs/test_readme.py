"""The quick starts are carried out as they are printed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.docs import ROOT, Block, readme_quick_start
from tests.support.quick_start import Reader, tutorial


@pytest.mark.servers
@pytest.mark.parametrize("steps", [readme_quick_start, tutorial])
def test_quick_start_does_what_it_says(steps: Callable[[], list[Block]], tmp_path: Path) -> None:
    with ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        reader.follow(steps())
        if steps is tutorial:
            assert "Log in" in reader.get("/admin/login/")
            assert "--primary" in reader.get("/static/admin/css/base.css"), "the admin has its style"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 120
