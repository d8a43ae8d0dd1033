"""The guard finds who keeps a loop busy, and nobody else."""

# ruff: noqa: S603 (the commands are built here)
from __future__ import annotations

import asyncio
import gc
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.support import loop_guard
from tests.support.loop_guard import LIMIT, MARK

pytestmark = [pytest.mark.blocks_loop("these show what the guard finds"), pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def busy(seconds: float) -> None:
    """Use the processor for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def found_in(work: Callable[[], Coroutine[Any, Any, None]]) -> list[str]:
    found: list[str] = []
    with loop_guard.watching(found.append):
        asyncio.run(work())
    return found


def test_a_busy_coroutine_is_found() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        busy(LIMIT + 0.05)

    [found] = found_in(work)
    assert MARK in found


def test_a_busy_callback_is_found() -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_soon(busy, LIMIT + 0.05)
        await asyncio.sleep(0.01)

    assert len(found_in(work)) == 1


def test_a_coroutine_that_sleeps_or_blocks_without_the_processor_is_not_found() -> None:
    """Time on the clock says more about the machine than about the code."""

    async def work() -> None:
        await asyncio.sleep(LIMIT + 0.05)
        time.sleep(LIMIT + 0.05)  # noqa: ASYNC251 (that is the point)

    assert not found_in(work)


def test_on_a_slow_processor_a_callback_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        busy(LIMIT + 0.05)

    monkeypatch.setattr(loop_guard, "TURNS", 10 * loop_guard.TURNS)  # as if each turn took ten times as long
    assert not found_in(work)


def test_a_coroutine_that_lets_others_run_in_between_is_not_found() -> None:
    async def work() -> None:
        for _ in range(4):
            busy(LIMIT / 3)
            await asyncio.sleep(0)

    assert not found_in(work)


def test_threads_are_not_found() -> None:
    async def work() -> None:
        await asyncio.to_thread(busy, LIMIT + 0.05)

    assert not found_in(work)


def test_what_is_excused_is_taken_off_and_nothing_else() -> None:
    excused = loop_guard.excused(busy)

    async def excused_alone() -> None:
        excused(LIMIT + 0.05)

    async def excused_and_busy() -> None:
        excused(LIMIT + 0.05)
        busy(LIMIT + 0.05)

    assert not found_in(excused_alone)
    assert len(found_in(excused_and_busy)) == 1


@pytest.mark.slow
def test_a_collection_of_garbage_is_excused_where_the_heap_is_the_suites() -> None:
    kept = [[number] for number in range(300_000)]

    async def work() -> None:
        end = time.thread_time() + LIMIT + 0.1
        while time.thread_time() < end:
            gc.collect()

    with loop_guard.collections_excused():
        found = found_in(work)
    assert kept
    assert not found


def test_the_loop_is_left_as_it_was() -> None:
    before = asyncio.Handle._run
    with loop_guard.watching(print):
        assert asyncio.Handle._run is not before
    assert asyncio.Handle._run is before


def test_start_up_is_excused_by_names_that_exist() -> None:
    for place in loop_guard.STARTUP:
        module, _, name = place.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.slow
def test_a_server_writes_what_is_found_to_its_log() -> None:
    program = (
        "import asyncio, django; django.setup()\n"
        "from tests.support.loop_guard import watch_server; from tests.support.test_loop_guard import busy\n"
        "async def work(): busy(0.25)\n"
        "watch_server(); asyncio.run(work())"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.support.settings"}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert MARK in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("line", "status"), [("busy(0.25)", 1), ("time.sleep(0.25)", 0)])
def test_a_test_fails_in_which_a_loop_was_kept_busy(tmp_path: Path, line: str, status: int) -> None:
    file = tmp_path / "test_busy.py"
    file.write_text(
        f"import time\nfrom tests.support.test_loop_guard import busy\n\nasync def test_busy():\n    {line}\n"
    )
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-q", "-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", *options, str(file)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == status, ended.stdout
    assert (MARK in ended.stdout) is bool(status)
