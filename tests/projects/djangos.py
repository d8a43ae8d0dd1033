"""The interpreters whose Django serves the projects."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "PROJECTS_PYTHONS"
"""Names them, as JSON: a label to a path. Without it there is the one that runs the tests."""


def pythons() -> Mapping[str, Path]:
    """Return the interpreters by label."""
    named = json.loads(os.environ.get(VARIABLE, "{}"))
    return {label: Path(path) for label, path in named.items()} or {"installed": Path(sys.executable)}
