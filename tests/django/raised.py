"""What handlers raise that should not: every kind of exception, each with a text that nobody may read."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

SECRET = "hunter2"

Fail = Callable[[], Any]


class Unheard(BaseException):
    """One that nobody catches."""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    __repr__ = __str__


class UnspeakableExit(SystemExit):
    def __str__(self) -> str:
        raise SystemExit(SECRET)

    __repr__ = __str__


def _raise(error: BaseException) -> Any:
    raise error


def _recur() -> Any:
    return _recur() + 1


KINDS: dict[str, Fail] = {
    "exit": lambda: sys.exit(SECRET),
    "exit with a code": lambda: sys.exit(0),
    "interrupt": lambda: _raise(KeyboardInterrupt(SECRET)),
    "cancelled": lambda: _raise(asyncio.CancelledError(SECRET)),
    "future cancelled": lambda: _raise(concurrent.futures.CancelledError(SECRET)),
    "generator exit": lambda: _raise(GeneratorExit(SECRET)),
    "unheard": lambda: _raise(Unheard(SECRET)),
    "group": lambda: _raise(ExceptionGroup(SECRET, [ValueError(SECRET)])),
    "base group": lambda: _raise(BaseExceptionGroup(SECRET, [SystemExit(SECRET), KeyboardInterrupt()])),
    "group of cancelled": lambda: _raise(BaseExceptionGroup(SECRET, [asyncio.CancelledError(SECRET)])),
    "stop": lambda: next(iter([])),
    "asynchronous stop": lambda: _raise(StopAsyncIteration(SECRET)),
    "recursion": _recur,
    "memory": lambda: _raise(MemoryError(SECRET)),
    "timeout": lambda: _raise(TimeoutError(SECRET)),
    "broken pipe": lambda: _raise(BrokenPipeError(32, SECRET)),
    "unspeakable": lambda: _raise(Unspeakable(SECRET)),
    "unspeakable exit": lambda: _raise(UnspeakableExit(SECRET)),
    "huge text": lambda: _raise(RuntimeError(SECRET * 1_000_000)),
}
TELLING = ("exit", "cancelled", "generator exit", "stop", "unspeakable exit")
"""The kinds that go ways of their own: every place is tried with these, and one place with all."""


def crash_in(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """Return the one record of a crash."""
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.levelno == logging.ERROR
    assert SECRET not in record.getMessage()
    return record


def text_of_failure(message: dict[str, Any]) -> str:
    """Return what a caller is told of a failure."""
    if "error" in message:
        assert message["error"]["code"] == -32603, message
        text = str(message["error"]["message"])
    else:
        assert message["result"]["isError"], message
        [content] = message["result"]["content"]
        text = str(content["text"])
    assert SECRET not in text
    return text
