"""The short form of `make attack`: whatever a client sends, everybody else is served, within the limits.

Each server and each backend is here once; `make attack` takes them in every combination.
"""

from __future__ import annotations

import os

import pytest

from tests.attack import attacks  # noqa: F401 (they enter themselves into the table)
from tests.attack.attack import ATTACKS
from tests.attack.measuring import line, run_all
from tests.support.processes import MissingProgramError, program

SHORT = [attack for attack in ATTACKS.values() if attack.short]


@pytest.mark.servers
@pytest.mark.blocks_loop("the attacker makes requests of 4 MB on a loop of its own")
@pytest.mark.parametrize(("server", "backend"), [("daphne", "redis"), ("uvicorn-httptools", "memory")])
def test_attacks_stay_within_their_limits(server: str, backend: str) -> None:
    if backend == "redis":
        _require_redis()
    measured = [*run_all(SHORT, [server], [backend])]
    assert len(measured) == len(SHORT)
    outside = [line(each) for each in measured if each.outside]
    assert not outside, "\n".join(outside)


def _require_redis() -> None:
    try:
        program("redis-server")
    except MissingProgramError as missing:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
            pytest.fail(str(missing))
        pytest.skip(str(missing))
