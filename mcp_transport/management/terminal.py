"""The terminal of a command: lines, one progress bar, and questions."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from django.core.management.base import OutputWrapper

from mcp_transport.management.tool_text import plain

__all__ = ["Terminal", "log_lines"]

_BAR: Final = 30
_COLUMNS: Final = 80
_LINE_BYTES: Final = 65_536


class Terminal:
    """Writes to the standard error, so that the standard output has the result alone."""

    def __init__(self, out: OutputWrapper, secrets: Sequence[str] = ()) -> None:
        """Take the standard error of a command, and texts that are written nowhere."""
        self._out, self._secrets = out, secrets
        self._has_bar = self._is_asking = False

    @property
    def can_ask(self) -> bool:
        """Tell whether somebody sees a question and can answer it."""
        has_input = os.name == "posix" and sys.stdin is not None and sys.stdin.isatty()  # see `ask`
        return has_input and self._out.isatty()

    def safe(self, text: object) -> str:
        """Write a text without secrets, and without what controls a terminal or is not in its encoding."""
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        return plain(text, self._secrets).encode(encoding, "replace").decode(encoding)

    def say(self, text: object) -> None:
        """Write lines; nothing in them controls the terminal."""
        self.clear()
        self._write(f"{self.safe(text)}\n")

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Draw the bar anew; only on a terminal, and not across a question."""
        if not self._out.isatty() or self._is_asking:
            return
        text = self.safe(f"{_drawn(progress, total)}  {message or ''}").replace("\n", " ").replace("\t", " ")
        self.clear()
        self._write(_cut(text.rstrip(), self._columns() - 1))
        self._has_bar = True

    def clear(self) -> None:
        """Remove the bar."""
        if self._has_bar:
            self._write("\r" + " " * (self._columns() - 1) + "\r")
            self._has_bar = False

    async def ask(self, prompt: str) -> str | None:
        """Return the line that is typed, None at the end of the input (Ctrl-D).

        No thread reads it, for one that waits for the terminal could not be ended by Ctrl-C: the event loop watches
        the terminal, which it cannot do on Windows.
        """
        self.clear()
        self._write(self.safe(prompt))
        loop, file, is_readable = asyncio.get_running_loop(), sys.stdin.fileno(), asyncio.Event()
        loop.add_reader(file, is_readable.set)
        self._is_asking = True
        try:
            await is_readable.wait()
            line = os.read(file, _LINE_BYTES)
        finally:
            self._is_asking = False
            loop.remove_reader(file)
        if not line:
            self._write("\n")
            return None
        return line.decode(sys.stdin.encoding or "utf-8", "replace").strip()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._out.fileno()).columns or _COLUMNS
        except (OSError, ValueError):
            return _COLUMNS

    def _write(self, text: str) -> None:
        self._out.write(text, style_func=str, ending="")
        self._out.flush()


def _drawn(progress: float, total: float | None) -> str:
    """Draw how far a call is; without a usable total, write the number that it has come to."""
    if total is None or not total > 0 or not math.isfinite(progress / total):
        return f"{progress:.15g}"
    part = min(1.0, max(0.0, progress / total))
    full = int(part * _BAR)
    return f"[{'#' * full}{'.' * (_BAR - full)}] {part:4.0%} {progress:.15g}/{total:.15g}"


def _cut(text: str, columns: int) -> str:
    """Return as much of a line as has room; East Asian characters take two columns."""
    used = 0
    for position, character in enumerate(text):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > columns:
            return text[:position]
    return text


class _Lines(logging.Handler):
    """Writes log records as lines of the terminal."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.INFO)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.say(record.getMessage())


@contextmanager
def log_lines(terminal: Terminal, verbosity: int) -> Iterator[None]:
    """Show which endpoints fail, with a verbosity of 2; what the SDK logs goes only where the project sends it."""
    if not (sdk := logging.getLogger("mcp")).hasHandlers():
        sdk.addHandler(logging.NullHandler())  # else Python writes it to the standard error, with tracebacks
    shown, handler = logging.getLogger("mcp_transport.client"), _Lines(terminal)
    if verbosity < 2:
        yield
        return
    level = shown.level
    shown.setLevel(logging.INFO)
    shown.addHandler(handler)
    try:
        yield
    finally:
        shown.removeHandler(handler)
        shown.setLevel(level)
