"""The distributions, built once, and environments with nothing in them but what a test installs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.requirements import ROOT

Install = Callable[..., Path]


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

    def install(*requirements: str, cwd: Path | None = None) -> Path:
        uv, folder = Path(sys.executable).parent / "uv", tmp_path / "environment"
        run(uv, "venv", "--quiet", "--python", sys.executable, folder)
        python = folder / "bin/python"
        run(uv, "pip", "install", "--quiet", "--python", python, *requirements, cwd=cwd)
        return python

    return install


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a command to its end, and return what it printed; say what it said when it fails."""
    own = {name: value for name, value in os.environ.items() if name not in ("DJANGO_SETTINGS_MODULE", "PYTHONPATH")}
    done = subprocess.run(words, cwd=cwd, env=own, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
