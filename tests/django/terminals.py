"""A terminal with somebody at it, who types when asked."""

from __future__ import annotations

import os
import pty
import select
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import pytest

END = "\x04"
"""Ctrl-D."""
_PATIENCE = 20.0


class Typist:
    """Types each answer when the text before it has been shown."""

    def __init__(self, answers: Sequence[tuple[str, str]] = ()) -> None:
        self.main, self.tty = pty.openpty()
        self._answers, self._shown = list(answers), b""
        self._ends, self._tell_end = os.pipe()
        self._thread = threading.Thread(target=self._work)
        self._is_done = threading.Event()
        if not self._answers:
            self._is_done.set()

    @property
    def shown(self) -> str:
        """All that was shown, with what was typed."""
        return self._shown.decode().replace("\r\n", "\n")

    def _work(self) -> None:
        read, deadline = 0, time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self.main, self._ends], [], [], 1)
            if self.main in ready:
                self._shown += os.read(self.main, 65_536)
            elif ready:
                return
            if self._answers and (at := self._shown.find(self._answers[0][0].encode(), read)) >= 0:
                expected, typed = self._answers.pop(0)
                read = at + len(expected.encode())
                os.write(self.main, typed.encode())
                if not self._answers:
                    self._is_done.set()

    def finish(self) -> None:
        """Wait until all answers are typed."""
        assert self._is_done.wait(_PATIENCE), f"never asked: {self._answers}; shown: {self.shown}"

    def __enter__(self) -> Typist:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.write(self._tell_end, b".")
        self._thread.join()
        for file in (self.main, self.tty, self._ends, self._tell_end):
            os.close(file)
        assert error[0] or not self._answers, f"never asked: {self._answers}; shown: {self.shown}"


@contextmanager
def at_terminal(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, str]) -> Iterator[tuple[Typist, TextIO]]:
    """Give this process a terminal as its standard input; return the one who types, and the standard error."""
    with (
        Typist(answers) as typist,
        open(typist.tty, closefd=False) as stdin,
        open(typist.tty, "w", closefd=False) as stderr,
        monkeypatch.context() as patch,
    ):
        patch.setattr(sys, "stdin", stdin)
        yield typist, stderr
