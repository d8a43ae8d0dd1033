"""What the pages load: nothing that could make markup of what clients send, and nothing of unknown origin."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mcp_transport

STATIC = Path(mcp_transport.__file__).parent / "static/mcp_transport"
OURS = sorted(STATIC.glob("*.js"))
MARKUP = (
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|document\.write|\beval\b|new Function|\.srcdoc"
)


@pytest.mark.parametrize("script", OURS, ids=lambda script: script.name)
def test_scripts_make_no_markup_of_what_comes(script: Path) -> None:
    assert not re.search(MARKUP, script.read_text(encoding="utf-8"))


def test_there_are_scripts() -> None:
    assert [script.name for script in OURS] == ["dashboard.js", "live.js", "session.js"]


def test_vendored_library_has_its_licence_and_version() -> None:
    folder = STATIC / "vendor/uplot"
    [version] = re.findall(r"uPlot ([0-9.]+), MIT", (folder / "README.md").read_text(encoding="utf-8"))
    assert f"(v{version})" in (folder / "uPlot.iife.min.js").read_text(encoding="utf-8")[:100]
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
