"""Commands that are run to their end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

Install = Callable[..., Path]
"""Installs requirements into an empty environment, and returns its interpreter."""


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a command to its end, and return what it printed; say what it said when it fails."""
    own = {name: value for name, value in os.environ.items() if name not in ("DJANGO_SETTINGS_MODULE", "PYTHONPATH")}
    done = subprocess.run(words, cwd=cwd, env=own, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
