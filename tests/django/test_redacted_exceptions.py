"""Exceptions without their texts: kind, stack and chain stay, for whoever mends what crashed."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import pytest
from django.core.exceptions import ImproperlyConfigured

import mcp_transport
from mcp_transport import log_redaction
from mcp_transport.exceptions import BackendError
from mcp_transport.redaction import redacted
from tests.support.canaries import PLANTED


class Refused(Exception):
    """One that takes more than a text, and has no room for more."""

    __slots__ = ("code",)

    def __init__(self, code: int, *, text: str) -> None:
        super().__init__(text)
        self.code = code


class Unspeakable(BackendError):
    def __str__(self) -> str:
        raise RuntimeError("it has no text")


def _raise(error: BaseException) -> None:
    raise error


def _recur() -> None:
    _recur()


GROUP = BaseExceptionGroup(PLANTED, [KeyboardInterrupt(PLANTED), ExceptionGroup(PLANTED, [OSError(2, PLANTED)])])
FAILING: dict[str, Callable[[], object]] = {
    "syntax": lambda: compile(f"{PLANTED} (", "<example>", "exec"),
    "characters": lambda: PLANTED.encode("utf-16").decode("ascii"),
    "arguments of its own": lambda: _raise(Refused(1, text=PLANTED)),
    "unspeakable": lambda: _raise(Unspeakable(PLANTED)),
    "exit": lambda: sys.exit(PLANTED),
    "key": lambda: _raise(KeyError(PLANTED)),
    "recursion": _recur,
    "group": lambda: _raise(GROUP),
}


def places(trace: TracebackType | None) -> list[tuple[str, str, int]]:
    walked = traceback.walk_tb(trace)
    return [(frame.f_code.co_filename, frame.f_code.co_name, line) for frame, line in walked]


@pytest.mark.parametrize("fail", FAILING.values(), ids=FAILING)
def test_stand_in_has_kind_and_stack_of_any_exception(fail: Callable[[], object]) -> None:
    try:
        fail()
    except BaseException as error:
        stand_in = redacted(error)
        kind, shown = type(error), type(stand_in)
        assert (shown.__name__, shown.__qualname__, shown.__module__) == (
            kind.__name__,
            kind.__qualname__,
            kind.__module__,
        )
        assert places(stand_in.__traceback__) == places(error.__traceback__)
        assert isinstance(stand_in, Exception) == isinstance(error, Exception)
        written = "".join(traceback.format_exception(stand_in))
        assert PLANTED not in written
        assert "(text withheld)" in written


def test_stand_in_keeps_the_chain_even_where_it_is_a_circle() -> None:
    first, second = ValueError(PLANTED), TypeError(PLANTED)
    first.__cause__, second.__context__ = second, first
    stand_in = redacted(first)
    assert type(stand_in.__cause__).__name__ == "TypeError"
    assert stand_in.__cause__ is not None
    assert stand_in.__cause__.__context__ is stand_in


@pytest.mark.parametrize("kind", [BackendError, ImproperlyConfigured])
def test_texts_of_this_package_are_never_withheld(kind: type[Exception]) -> None:
    namespace = {"__name__": "mcp_transport.somewhere", "kind": kind}
    try:
        try:
            int(PLANTED)
        except ValueError:
            exec("raise kind('set RESOURCE_URL')", namespace)  # noqa: S102
    except Exception as error:
        written = "".join(traceback.format_exception(redacted(error)))
        assert "set RESOURCE_URL" in written
        assert PLANTED not in written


def test_what_a_project_finds_improperly_configured_is_withheld() -> None:
    try:
        raise ImproperlyConfigured(PLANTED)
    except ImproperlyConfigured as error:
        assert str(redacted(error)) == "(text withheld)"


def test_each_logger_of_exceptions_is_watched() -> None:
    package = Path(str(mcp_transport.__file__)).parent
    writers = {
        ".".join(("mcp_transport", *path.relative_to(package).with_suffix("").parts))
        for path in package.rglob("*.py")
        if re.search(r"logger\.exception\(|exc_info=", path.read_text())
    }
    assert writers
    assert writers <= set(log_redaction._LOGGERS)
