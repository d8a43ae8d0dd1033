"""The terminal of a command: lines, one progress bar, and prompts."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.core.management.base import OutputWrapper

from mcp_transport.management.tool_text import plain

__all__ = ["Terminal", "log_lines", "write_result"]

_BAR_WIDTH: Final = 30
_DEFAULT_COLUMNS: Final = 80
_MAX_LINE_BYTES: Final = 65_536


class Terminal:
    """Writes to the standard error, so that the standard output contains only the result."""

    def __init__(self, out: OutputWrapper, secrets: Sequence[str] = ()) -> None:
        """Write to the standard error of a command, without `secrets`."""
        self._out, self._secrets = out, secrets
        self._has_bar = self._is_prompting = False

    @property
    def is_interactive(self) -> bool:
        """Return whether a user can read a prompt and answer it."""
        has_input = os.name == "posix" and sys.stdin is not None and sys.stdin.isatty()  # see `read_line`
        return has_input and self._out.isatty()

    def safe(self, text: object) -> str:
        """Return a text without secrets, control characters, and characters that the encoding lacks."""
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        return plain(text, self._secrets).encode(encoding, "replace").decode(encoding)

    def say(self, text: object) -> None:
        """Write lines, without secrets and control characters."""
        self.clear()
        self._write(f"{self.safe(text)}\n")

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Redraw the progress bar, on a terminal that shows no prompt."""
        if not self._out.isatty() or self._is_prompting:
            return
        text = self.safe(f"{_bar(progress, total)}  {message or ''}").replace("\n", " ").replace("\t", " ")
        self.clear()
        self._write(_truncate(text.rstrip(), self._columns() - 1))
        self._has_bar = True

    def clear(self) -> None:
        """Erase the progress bar."""
        if self._has_bar:
            self._write("\r" + " " * (self._columns() - 1) + "\r")
            self._has_bar = False

    async def read_line(self, prompt: str) -> str | None:
        """Prompt for a line and return it; None at the end of the input (Ctrl-D).

        The event loop watches the terminal, which it cannot do on Windows: a thread that reads could not be
        interrupted by Ctrl-C.
        """
        self.clear()
        self._write(self.safe(prompt))
        loop, file, is_readable = asyncio.get_running_loop(), sys.stdin.fileno(), asyncio.Event()
        loop.add_reader(file, is_readable.set)
        self._is_prompting = True
        try:
            await is_readable.wait()
            line = os.read(file, _MAX_LINE_BYTES)
        finally:
            self._is_prompting = False
            loop.remove_reader(file)
        if not line:
            self._write("\n")
            return None
        return line.decode(sys.stdin.encoding or "utf-8", "replace").strip()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._out.fileno()).columns or _DEFAULT_COLUMNS
        except (OSError, ValueError):
            return _DEFAULT_COLUMNS

    def _write(self, text: str) -> None:
        self._out.write(text, style_func=str, ending="")
        self._out.flush()


def write_result(out: OutputWrapper, options: dict[str, Any], value: Any, lines: Iterable[str]) -> None:
    """Write a result as JSON with the option `--json`, or else its lines."""
    for line in [json.dumps(value, indent=2)] if options["json"] else lines:
        out.write(line)


def _bar(progress: float, total: float | None) -> str:
    """Return a progress bar or, without a usable total, the number."""
    if total is None or not total > 0 or not math.isfinite(progress / total):
        return f"{progress:.15g}"
    share = min(1.0, max(0.0, progress / total))
    full = int(share * _BAR_WIDTH)
    return f"[{'#' * full}{'.' * (_BAR_WIDTH - full)}] {share:4.0%} {progress:.15g}/{total:.15g}"


def _truncate(text: str, columns: int) -> str:
    """Truncate a line to the width of the terminal; East Asian characters take two columns."""
    used = 0
    for position, character in enumerate(text):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > columns:
            return text[:position]
    return text


class _TerminalHandler(logging.Handler):
    """Writes log records to the terminal."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.INFO)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.say(record.getMessage())


@contextmanager
def log_lines(terminal: Terminal, verbosity: int) -> Iterator[None]:
    """Show failing endpoints from a verbosity of 2 on; the SDK's log goes only to the project's handlers."""
    if not (sdk := logging.getLogger("mcp")).hasHandlers():
        sdk.addHandler(logging.NullHandler())  # otherwise Python writes tracebacks to the standard error
    client_logger, handler = logging.getLogger("mcp_transport.client"), _TerminalHandler(terminal)
    if verbosity < 2:
        yield
        return
    level = client_logger.level
    client_logger.setLevel(logging.INFO)
    client_logger.addHandler(handler)
    try:
        yield
    finally:
        client_logger.removeHandler(handler)
        client_logger.setLevel(level)
