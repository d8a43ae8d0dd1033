"""The interpreters whose Django serves the projects, and their virtual environments, one a version of Django."""

# ruff: noqa: S603 (the commands are built here)
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.processes import ROOT
from tests.support.requirements import requirements

FOLDER = ROOT / ".venv-projects"


VARIABLE = "PROJECTS_PYTHONS"
"""Names interpreters, as JSON: a label to a path. Without it there is the one that runs the tests."""


def pythons() -> Mapping[str, Path]:
    """Return the interpreters by label."""
    named = json.loads(os.environ.get(VARIABLE, "{}"))
    return {label: Path(path) for label, path in named.items()} or {"installed": Path(sys.executable)}


class MissingPythonError(Exception):
    """Raised when no interpreter is new enough."""


def environment(label: str, django: str, oldest: tuple[int, int]) -> Path:
    """Return the interpreter of an environment, which is made unless it is up to date.

    Raises:
        MissingPythonError: no Python is as new as `oldest`.
    """
    folder = FOLDER / f"django-{label}"
    python, stamp = folder / "bin/python", folder / "installed"
    wanted = [django, *(line for line in requirements(["test"]) if not line.startswith("Django>="))]
    if stamp.exists() and stamp.read_text().splitlines() == wanted:
        return python
    interpreter = _interpreter(oldest)
    print(f"Installing Django {label} into {folder.relative_to(ROOT)}", flush=True)
    subprocess.run([interpreter, "-m", "venv", "--clear", folder], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted], check=True)
    stamp.write_text("\n".join(wanted))
    return python


def version(python: Path) -> str:
    """Return the Django of an interpreter."""
    command = [str(python), "-c", "import django; print(django.get_version())"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _interpreter(oldest: tuple[int, int]) -> Path:
    for candidate in _interpreters():
        check = f"import sys, ensurepip; sys.exit(sys.version_info < {oldest})"
        if subprocess.run([candidate, "-c", check], capture_output=True).returncode == 0:
            return candidate
    raise MissingPythonError(f"no Python {oldest[0]}.{oldest[1]} or newer on PATH or in ~/.pyenv/versions")


def _interpreters() -> Iterator[Path]:
    yield Path(sys.executable)
    for name in ("python3.12", "python3.13", "python3.14", "python3"):
        if found := shutil.which(name):
            yield Path(found)
    yield from sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))


VERSIONS: Mapping[str, tuple[str, tuple[int, int]]] = {
    "5.2": ("Django>=5.2,<5.3", (3, 11)),
    "6": ("Django>=6,<7", (3, 12)),
}
"""By label: what pip is asked for, and the oldest Python that it runs on."""
