"""Try all projects with each Django behind each server; print a table, and write it to .projects.md.

python -m tests.projects [pytest's arguments]
"""

# ruff: noqa: S603 (the commands are built here; a program for people)
from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.projects.environments import VARIABLE, VERSIONS, MissingPythonError, environment, version
from tests.support.processes import ROOT

TABLE = ROOT / ".projects.md"


def main(arguments: list[str]) -> int:
    """Make the environments, and run the tests; what is missing is said at the end, and counts as a failure."""
    pythons, missing = {}, []
    for label, (django, oldest) in VERSIONS.items():
        try:
            python = environment(label, django, oldest)
        except MissingPythonError as error:
            missing.append(f"THE PROJECTS WERE NOT TRIED WITH DJANGO {label}: {error}")
        else:
            pythons[version(python)] = str(python)
    own = {VARIABLE: json.dumps(pythons), "PROJECTS_TABLE": str(TABLE), "CI": "true"}
    command = [sys.executable, "-m", "pytest", "-m", "not slow_deploy", "tests/projects", *arguments]
    status = subprocess.run(command, cwd=ROOT, env={**os.environ, **own}).returncode if pythons else 1
    for message in missing:
        print(message, file=sys.stderr)
    return status or bool(missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
