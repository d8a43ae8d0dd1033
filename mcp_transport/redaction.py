"""Redacted copies of exceptions, with the type and the traceback but without the text and the local variables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from mcp_transport.exceptions import MCPTransportError

__all__ = ["WITHHELD", "is_long", "raised_in", "redacted"]

WITHHELD: Final = "(text withheld)"

# The longest text of an exception that is logged.
_MAX_TEXT_CHARACTERS: Final = 8192
_MAX_ERRORS: Final = 20

# The module globals that formatting a traceback needs.
_MODULE_GLOBALS: Final[tuple[str, ...]] = ("__name__", "__file__", "__loader__")


def redacted(error: BaseException) -> BaseException:
    """Return a redacted copy of an exception, its causes, contexts and members; this package's own texts are kept."""
    copies: dict[int, tuple[BaseException, BaseException]] = {}
    pending = [error]
    while pending:
        original = pending.pop()
        members = original.exceptions if isinstance(original, BaseExceptionGroup) else ()
        if missing := [member for member in members if id(member) not in copies]:
            pending += [original, *missing]
        elif id(original) not in copies:
            copies[id(original)] = original, _copy(original, [copies[id(member)][1] for member in members])
            pending += [linked for linked in (original.__cause__, original.__context__) if linked is not None]
    for original, copy in copies.values():
        if original.__cause__ is not None:
            copy.__cause__ = copies[id(original.__cause__)][1]
        if original.__context__ is not None:
            copy.__context__ = copies[id(original.__context__)][1]
        copy.__suppress_context__ = original.__suppress_context__
    return copies[id(error)][1]


def is_long(error: BaseException) -> bool:
    """Return whether an exception, or one of its causes, contexts and members, has a text too long for a log."""
    visited: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop()
        if id(current) in visited:
            continue
        visited.add(id(current))
        if _is_text_long(current):
            return True
        pending += current.exceptions if isinstance(current, BaseExceptionGroup) else ()
        pending += [linked for linked in (current.__cause__, current.__context__) if linked is not None]
    return False


def _is_text_long(error: BaseException) -> bool:
    try:
        # A pydantic ValidationError, which is not imported here; counting its errors is faster than formatting them.
        if getattr(error, "error_count", int)() > _MAX_ERRORS:
            return True
        return len(str(error)) > _MAX_TEXT_CHARACTERS
    except Exception:  # a project's __str__ may fail
        return False


def raised_in(error: BaseException) -> str:
    """Return the name of the module whose code raised an exception; an empty string if it was never raised."""
    modules = [frame.f_globals.get("__name__") for frame, _ in _frames(error.__traceback__)]
    return str(modules[-1]) if modules else ""


def _copy(original: BaseException, members: Sequence[BaseException]) -> BaseException:
    base: Any = Exception if isinstance(original, Exception) else BaseException
    if isinstance(original, BaseExceptionGroup):
        base = ExceptionGroup if isinstance(original, ExceptionGroup) else BaseExceptionGroup
    kind = type(original)
    make = _kind(base, kind.__name__, kind.__qualname__, str(kind.__module__))
    copy: BaseException = make(_text(original), members) if members else make(_text(original))
    return copy.with_traceback(_without_locals(original.__traceback__))


@lru_cache(maxsize=256)
def _kind(base: Any, name: str, qualified: str, module: str) -> Any:
    """Create a class with the name of another class, but without its constructor, members and methods."""
    return type(name, (base,), {"__qualname__": qualified, "__module__": module})


def _text(error: BaseException) -> str:
    try:
        return str(error) if _is_own(error) else WITHHELD
    except BaseException:  # a project's subclass may define __str__
        return WITHHELD


def _is_own(error: BaseException) -> bool:
    """Return whether an exception's text comes from this package, and explains an error in the project."""
    if isinstance(error, ImproperlyConfigured):
        return raised_in(error).partition(".")[0] == "mcp_transport"
    return isinstance(error, MCPTransportError)


def _without_locals(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback with the same lines, whose frames have no local variables."""
    copy: TracebackType | None = None
    for frame, line in reversed(list(_frames(traceback))):
        copy = TracebackType(copy, _frame_at(frame, line), 0, line)
    return copy


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        # A frame of generated code may have no line.
        yield traceback.tb_frame, traceback.tb_lineno or 0
        traceback = traceback.tb_next


def _frame_at(frame: FrameType, line: int) -> FrameType:
    """Return a frame at a line of the same function, without local variables and callers.

    It is the frame of a generator that has not started: the frame of a running function would keep its callers'
    frames alive, and with them the arguments in their local variables. `traceback` looks up the line of the frame's
    first instruction, which has no columns.
    """
    code, line = frame.f_code, line or frame.f_code.co_firstlineno
    module_globals = {name: frame.f_globals[name] for name in _MODULE_GLOBALS if name in frame.f_globals}
    generator = FunctionType(_code(code.co_filename, line, code.co_name, code.co_qualname), module_globals)()
    copy: FrameType = generator.gi_frame
    return copy


def _empty() -> Iterator[None]:
    yield


@lru_cache(maxsize=2048)
def _code(file: str, line: int, name: str, qualified: str) -> CodeType:
    return _empty.__code__.replace(co_filename=file, co_firstlineno=line, co_name=name, co_qualname=qualified)
