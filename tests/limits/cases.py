"""How a case is written: beside the limit, what is done to go beyond it.

To add a limit, add a row to `docs/reference/limits.md` and a case under the row's first cell:

    @case("a method", MAX_METHOD)
    async def _(stage: Stage) -> Answer:
        ...

A case checks that as much as the limit is taken, goes beyond it, and returns the answer, whose status and code the
row must name. One that returns None has checked by itself what the row says. `tested_by` names a test that stands
elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import Answer, SessionClient
from tests.support.clock import FakeClock
from tests.support.endpoint import BuildEndpoint
from tests.support.tools import Gate

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stage:
    """An endpoint with a client, whose session is open."""

    build: BuildEndpoint
    clock: FakeClock
    gate: Gate
    endpoint: Endpoint
    client: SessionClient


Run = Callable[[Stage], Awaitable[Answer | None]]


@dataclass(frozen=True)
class Case:
    """The limit in the code, and how to go beyond it."""

    limit: float
    run: Run


CASES: dict[str, Case] = {}


def case(what: str, limit: float) -> Callable[[Run], Run]:
    """Register the case of the row `what`."""

    def register(run: Run) -> Run:
        assert what not in CASES, what
        CASES[what] = Case(limit, run)
        return run

    return register


@cache
def _tests() -> frozenset[str]:
    """Return the names of all test functions."""
    files = (ROOT / "tests").rglob("*.py")
    return frozenset(name for file in files for name in re.findall(r"\bdef (test_\w+)", file.read_text()))


def tested_by(limit: float, what: str, test: str) -> None:
    """Register a case that stands elsewhere: the function `test`, in whichever file it is."""

    async def exists(stage: Stage) -> None:
        assert test in _tests(), f"there is no {test}"

    case(what, limit)(exists)
