"""What pip or apt may not have installed: without it the tests are skipped, or fail where CI is true."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from tests.support.processes import MissingProgramError, program


def require() -> None:
    """Skip the test module that is being imported."""
    reason = "" if find_spec("playwright") else "playwright is not installed; make .venv/installed"
    try:
        program("chromium")
        program("redis-server")
    except MissingProgramError as missing:
        reason = reason or str(missing)
    if not reason:
        return
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)
