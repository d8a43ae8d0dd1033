"""Executors of daemon threads."""

from __future__ import annotations

import ctypes
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from queue import Queue
from typing import Any

import pytest

from mcp_transport.executor import DaemonThreads, SerialExecutor


def nothing() -> None: ...


def threads(
    clean: Callable[[], None] = nothing, dispose: Callable[[], None] = nothing, idle_seconds: float = 60.0
) -> DaemonThreads:
    pool = DaemonThreads("test", clean=clean, dispose=dispose)
    pool.idle_seconds = idle_seconds
    return pool


def test_functions_run_one_after_the_other_in_one_thread() -> None:
    executor, order = SerialExecutor(threads()), list[int]()
    for number in range(100):
        executor.submit(order.append, number)
    idents = {executor.submit(threading.get_ident).result(5) for _ in range(100)}
    assert len(idents) == 1
    assert order == [*range(100)]


def test_a_thread_is_used_again_by_the_next() -> None:
    cleaned: Queue[int] = Queue()
    pool = threads(clean=lambda: cleaned.put(threading.get_ident()))
    executor = SerialExecutor(pool)
    first = executor.submit(threading.get_ident).result(5)
    executor.close()
    assert [cleaned.get(timeout=5), cleaned.get(timeout=5)] == [first, first], "before its use and after it"
    for _ in range(1000):  # the thread gives itself back a moment later
        second = SerialExecutor(pool)
        ident = second.submit(threading.get_ident).result(5)
        second.close()
        if ident == first:
            return
    pytest.fail("the idle thread is never borrowed")


def test_results_errors_and_exits_reach_the_caller() -> None:
    executor = SerialExecutor(threads())
    assert executor.submit(lambda a, b: a - b, 3, b=1).result(5) == 2
    for error, came in (
        (ValueError, ValueError),
        (SystemExit, SystemExit),
        (KeyboardInterrupt, KeyboardInterrupt),
        (StopIteration, RuntimeError),  # a future of asyncio would refuse it
        (GeneratorExit, RuntimeError),  # it would close the coroutine that waits
        (CancelledError, RuntimeError),  # it would be taken for a cancellation
    ):

        def fails(error: Any = error) -> None:
            raise error("no")

        assert type(executor.submit(fails).exception(5)) is came
    assert executor.submit(int).result(5) == 0, "the thread lives on"


def test_what_is_cancelled_before_its_turn_never_runs() -> None:
    executor, ran = SerialExecutor(threads()), list[int]()
    busy = threading.Event()
    executor.submit(busy.wait)
    waiting = executor.submit(ran.append, 1)
    assert waiting.cancel()
    busy.set()
    executor.submit(int).result(5)
    assert ran == []


def test_after_close_each_function_has_a_thread_and_gives_it_back() -> None:
    executor = SerialExecutor(threads())
    executor.close()
    assert executor.submit(lambda: 7).result(5) == 7
    assert not executor.is_used


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "forgotten"])
def test_an_idle_thread_is_given_back_ends_and_is_disposed_of(is_closed: bool) -> None:
    disposed: Queue[threading.Thread] = Queue()
    executor = SerialExecutor(threads(dispose=lambda: disposed.put(threading.current_thread()), idle_seconds=0.01))
    own = executor.submit(threading.current_thread).result(5)
    assert own.daemon
    if is_closed:
        executor.close()
    else:
        del executor
    assert disposed.get(timeout=5) is own
    own.join(5)
    assert not own.is_alive()


def test_a_thread_that_is_borrowed_does_not_end_while_it_is_idle() -> None:
    executor = SerialExecutor(threads(idle_seconds=0.001))
    own = executor.submit(threading.current_thread).result(5)
    own.join(0.05)
    assert executor.submit(threading.current_thread).result(5) is own


def test_cleaning_that_fails_is_logged_and_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise LookupError("cannot be cleaned")

    executor = SerialExecutor(threads(clean=fails))
    with caplog.at_level(logging.ERROR):
        assert executor.submit(int).result(5) == 0
    assert "cleaning up after synchronous code failed" in caplog.text


def test_a_thread_that_is_interrupted_while_it_is_idle_serves_the_next() -> None:
    """As by a function's watchdog that comes too late."""
    pool = threads()
    first = SerialExecutor(pool)
    ident = first.submit(threading.get_ident).result(5)
    first.close()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TimeoutError))
    for _ in range(3):
        executor = SerialExecutor(pool)
        assert executor.submit(lambda: 7).result(5) == 7
        executor.close()


# -- processes that end, and that fork ---------------------------------------------------------------

IMPORTS = "import os, threading\nfrom mcp_transport.executor import DaemonThreads, SerialExecutor\n"
HAS_FORKED = """
pool = DaemonThreads("test")
executor = SerialExecutor(pool)
executor.submit(int).result(5)
executor.close()
child = os.fork()
if child == 0:
    os._exit(SerialExecutor(pool).submit(lambda: 7).result(5))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
STUCK = """
started = threading.Event()
SerialExecutor(DaemonThreads("stuck")).submit(lambda: (started.set(), threading.Event().wait()))
started.wait()
print("ends")
"""
FORKS = """
def forks():
    if pid := os.fork():
        return pid
    END
pid = SerialExecutor(DaemonThreads("test")).submit(forks).result(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        pytest.param(HAS_FORKED, "7", id="a forked process has threads of its own"),
        pytest.param(STUCK, "ends", id="a function that never returns does not keep the process"),
        *(
            pytest.param(
                FORKS.replace("END", end),
                "1",
                marks=pytest.mark.slow,
                id=f"a child that a function forks does not go on as a thread: {end}",
            )
            for end in ("raise ValueError", "raise SystemExit", "return")
        ),
    ],
)
def test_processes(program: str, printed: str) -> None:
    arguments = [sys.executable, "-W", "ignore", "-c", IMPORTS + program]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    assert (done.returncode, done.stdout.strip()) == (0, printed), done.stderr
