"""The distributions, built once, and environments with nothing in them but what a test installs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.packaging.command import Install, run
from tests.support.requirements import ROOT


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution, and the wheel from it; return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    [wheel] = distributions.glob("*.whl")
    return wheel


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Return a function that installs requirements into an empty environment, and returns its interpreter."""

    def install(*requirements: str) -> Path:
        uv, folder = Path(sys.executable).parent / "uv", tmp_path / "environment"
        run(uv, "venv", "--quiet", "--python", sys.executable, folder)
        python = folder / "bin/python"
        run(uv, "pip", "install", "--quiet", "--python", python, *requirements)
        return python

    return install
