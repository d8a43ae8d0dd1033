"""A guard of the hot path: ratios in one run, never absolute times, against what is published.

Other processes only ever make a server look slower, so each is measured three times, in turn, and its best counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec

import pytest

from tests.bench.load import guarded
from tests.bench.process import PinnedRedis, ServerProcess, load_core
from tests.bench.report import FIGURES
from tests.bench.results import Results
from tests.bench.servers import SERVERS
from tests.bench.stage import Scale, Stage
from tests.bench.workloads import WORKLOADS
from tests.support.processes import MissingProgramError, program

OURS, LIMIT, SDK = "mount-uvicorn-redis", "raw", "sdk-json"
SHORT = Scale(seconds=0.7, warm_up=0.3)
REPEATS = 3
HEAD_ROOM = 0.6
"""The share of a published ratio that must be reached."""

Rates = dict[tuple[str, str], float]


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """Look for what not every machine has."""
    missing = [] if find_spec("uvloop") else ["uvloop"]
    for name in ("redis-server", "taskset"):
        try:
            program(name)
        except MissingProgramError:
            missing.append(name)
    if missing and os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture
def one_core() -> Iterator[None]:
    """Keep this process, which is the load, on its core while it measures."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {load_core()})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def rates(one_core: None) -> Rates:
    """Measure the three servers in turn."""
    import uvloop

    best: Rates = {}
    with ExitStack() as stack:
        redis = stack.enter_context(PinnedRedis())
        stages = {
            name: Stage(stack.enter_context(ServerProcess(SERVERS[name], redis=redis)), SHORT)
            for name in (OURS, LIMIT, SDK)
        }
        for _ in range(REPEATS):
            for name, stage in stages.items():
                for workload in ("session", "alone"):
                    facts = uvloop.run(guarded(WORKLOADS[workload].run(stage)))
                    best[name, workload] = max(best.get((name, workload), 0.0), facts["rate"])
    return best


@pytest.mark.slow
def test_calls_are_as_fast_beside_the_limit_and_the_sdk_as_published(rates: Rates) -> None:
    published = Results.read(FIGURES)
    slow = []
    for other in (LIMIT, SDK):
        for workload in ("session", "alone"):
            expected = published.ratio(workload, "rate", OURS, other)
            assert expected, f"{workload} against {other} is not published"
            ratio = rates[OURS, workload] / rates[other, workload]
            if ratio < HEAD_ROOM * expected:
                slow.append(f"{workload} against {other}: {ratio:.3f}, published {expected:.3f}")
    assert not slow, f"{slow}; calls/s: {rates}"
