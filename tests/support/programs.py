"""What pip may not have installed: without it tests are skipped, or fail where CI is true."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests.support.processes import MissingProgramError, program


def lacking(reason: str) -> NoReturn:
    """Skip the test, or the module that is being imported; fail where CI is true."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


def need(*programs: str) -> None:
    """Look for programs."""
    try:
        for name in programs:
            program(name)
    except MissingProgramError as missing:
        lacking(str(missing))
