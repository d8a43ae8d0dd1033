"""Stand-ins for exceptions: their kinds and stacks, without what they say and without local variables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from mcp_transport.exceptions import MCPTransportError

__all__ = ["WITHHELD", "is_long", "origin", "redacted"]

WITHHELD: Final = "(text withheld)"

# Characters of an exception's text that a log takes.
_LONGEST: Final = 8192
_MOST_ERRORS: Final = 20

# What a reader of a traceback needs of a frame's module.
_MODULE_FACTS: Final = ("__name__", "__file__", "__loader__")


def redacted(error: BaseException) -> BaseException:
    """Return a stand-in for an exception, and for its causes, contexts and members; this package's own texts stay."""
    made: dict[int, tuple[BaseException, BaseException]] = {}
    waiting = [error]
    while waiting:
        original = waiting.pop()
        members = original.exceptions if isinstance(original, BaseExceptionGroup) else ()
        if missing := [member for member in members if id(member) not in made]:
            waiting += [original, *missing]
        elif id(original) not in made:
            made[id(original)] = original, _stand_in(original, [made[id(member)][1] for member in members])
            waiting += [linked for linked in (original.__cause__, original.__context__) if linked is not None]
    for original, stand_in in made.values():
        if original.__cause__ is not None:
            stand_in.__cause__ = made[id(original.__cause__)][1]
        if original.__context__ is not None:
            stand_in.__context__ = made[id(original.__context__)][1]
        stand_in.__suppress_context__ = original.__suppress_context__
    return made[id(error)][1]


def is_long(error: BaseException) -> bool:
    """Tell whether an exception, or one that it comes from, has a text too long for a log."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        known = waiting.pop()
        if id(known) in seen:
            continue
        seen.add(id(known))
        if _is_wordy(known):
            return True
        waiting += known.exceptions if isinstance(known, BaseExceptionGroup) else ()
        waiting += [linked for linked in (known.__cause__, known.__context__) if linked is not None]
    return False


def _is_wordy(error: BaseException) -> bool:
    try:
        # Pydantic's, which is not imported here: to write its errors takes longer than to count them.
        if getattr(error, "error_count", int)() > _MOST_ERRORS:
            return True
        return len(str(error)) > _LONGEST
    except Exception:  # its __str__ is a project's own, and may fail as it likes
        return False


def origin(error: BaseException) -> str:
    """Return the name of the module whose code raised an exception; an empty string if it was never raised."""
    modules = [frame.f_globals.get("__name__") for frame, _ in _frames(error.__traceback__)]
    return str(modules[-1]) if modules else ""


def _stand_in(original: BaseException, members: Sequence[BaseException]) -> BaseException:
    base: Any = Exception if isinstance(original, Exception) else BaseException
    if isinstance(original, BaseExceptionGroup):
        base = ExceptionGroup if isinstance(original, ExceptionGroup) else BaseExceptionGroup
    kind = type(original)
    make = _kind(base, kind.__name__, kind.__qualname__, str(kind.__module__))
    stand_in: BaseException = make(_text(original), members) if members else make(_text(original))
    return stand_in.with_traceback(_bare(original.__traceback__))


@lru_cache(maxsize=256)
def _kind(base: Any, name: str, qualified: str, module: str) -> Any:
    """Make a class that looks like another one, and has none of its constructor, members and methods."""
    return type(name, (base,), {"__qualname__": qualified, "__module__": module})


def _text(error: BaseException) -> str:
    try:
        return str(error) if _is_own(error) else WITHHELD
    except BaseException:  # a project may have derived from one of ours, and its __str__ is its own
        return WITHHELD


def _is_own(error: BaseException) -> bool:
    """Tell whether an exception's text is this package's, which says what is to be mended."""
    if isinstance(error, ImproperlyConfigured):
        return origin(error).partition(".")[0] == "mcp_transport"
    return isinstance(error, MCPTransportError)


def _bare(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback through the same lines, whose frames have no local variables."""
    bare: TracebackType | None = None
    for frame, line in reversed(list(_frames(traceback))):
        bare = TracebackType(bare, _stand_in_frame(frame, line), 0, line)
    return bare


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        # A frame that is at no line, as of generated code, has None.
        yield traceback.tb_frame, traceback.tb_lineno or 0
        traceback = traceback.tb_next


def _stand_in_frame(frame: FrameType, line: int) -> FrameType:
    """Return a frame at a line of the same function that has neither local variables nor callers.

    It is that of a generator which has not begun: the frame of a function that was called keeps all of its callers'
    alive, and with them the arguments in their local variables. `traceback` looks up the line of its first
    instruction, which has no columns.
    """
    code, line = frame.f_code, line or frame.f_code.co_firstlineno
    facts: dict[str, Any] = {name: frame.f_globals[name] for name in _MODULE_FACTS if name in frame.f_globals}
    generator = FunctionType(_code(code.co_filename, line, code.co_name, code.co_qualname), facts)()
    found: FrameType = generator.gi_frame
    return found


def _nothing() -> Iterator[None]:
    yield


@lru_cache(maxsize=2048)
def _code(file: str, line: int, name: str, qualified: str) -> CodeType:
    return _nothing.__code__.replace(co_filename=file, co_firstlineno=line, co_name=name, co_qualname=qualified)
