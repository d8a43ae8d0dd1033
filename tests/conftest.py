"""What every test obeys: no secret in the log, no undocumented right in Redis, no event loop kept busy."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from mcp_transport.supervision import forget_failures
from tests.support import loop_guard
from tests.support.canaries import Watch
from tests.support.processes import MissingProgramError
from tests.support.redis.users import watched

_HERE = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a folder together, in the order they have: what they share is then started by one worker."""
    places: dict[str, int] = {}
    items.sort(key=lambda item: places.setdefault(_folder_of(item), len(places)))


def _folder_of(item: pytest.Item) -> str:
    """Return the folder beside this file that a test is in."""
    return item.path.relative_to(_HERE).parts[0] if item.path.is_relative_to(_HERE) else ""


def pytest_sessionstart() -> None:
    """Collect the tests without the garbage collector, which finds no garbage among them: a quarter of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through thousands of tests again and again."""
    gc.collect()  # after a full collection of so many objects, the next ones are rare
    gc.freeze()
    gc.set_threshold(50_000, 20, 10)  # a test makes thousands of objects, hardly any of which are garbage in a circle
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Skip a test whose program is not installed; in CI it fails."""
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Skip a test whose program is not installed; in CI it fails."""
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Drop what a test that passes has logged: nobody reads it, and workers would send megabytes of it."""
    report = yield
    if report.passed:
        report.sections.clear()
    return report


def _skipping() -> Generator[None, None, None]:
    try:
        return (yield)
    except MissingProgramError as missing:
        if os.environ.get("CI", "").lower() in ("1", "true", "yes", "on"):
            raise
        pytest.skip(f"SKIPPED, AND CI FAILS HERE: {missing}")


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples Hypothesis tries."""
    examples = 20 if re.search(r"not slow\b", config.option.markexpr) else 100
    excused = [HealthCheck.too_slow]
    settings.register_profile(
        "tests", max_examples=examples, deadline=None, database=None, suppress_health_check=excused
    )
    settings.load_profile("tests")


@pytest.fixture(scope="session")
def watch() -> Iterator[Watch]:
    """Look at each log line of the whole run, whoever writes it."""
    watch, root = Watch(), logging.getLogger()
    root.addHandler(watch)
    levels = {name: logging.getLogger(name).level for name in ("mcp_transport", "mcp", "django")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield watch
    root.removeHandler(watch)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Empty the database quickly after tests that need a flush."""
    from tests.support.database import quickly_emptied

    with ExitStack() as stack:
        with django_db_blocker.unblock():
            stack.enter_context(quickly_emptied())
        yield


@pytest.fixture(autouse=True)
def nothing_secret_is_logged(watch: Watch) -> Iterator[None]:
    """Fail the test in which a secret was logged."""
    watch.taken()
    yield
    assert not watch.taken(), "a secret was logged"


@pytest.fixture(autouse=True)
def each_failure_is_new() -> None:
    """Have each test see in the log what an earlier one has seen, too."""
    forget_failures()


@pytest.fixture(autouse=True)
def documented_rights_are_enough() -> Iterator[None]:
    """Fail the test in which a redis-server refused something to the user with the documented rights."""
    yield
    assert not watched.take(), "the user with the documented rights was refused"


@pytest.fixture(autouse=True)
def loop_is_never_kept_busy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test in which a callback kept the loop's thread busy, unless it says why it does so on purpose."""
    marker = request.node.get_closest_marker("blocks_loop")
    if marker is not None:
        assert marker.args, "blocks_loop needs a reason"
        yield
        return
    found: list[str] = []
    with loop_guard.collections_excused(), loop_guard.watching(found.append):
        yield
    assert not found, "\n".join(found)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let processes that the test starts hear SIGINT, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
