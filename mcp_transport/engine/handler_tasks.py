"""Tasks that handlers start: one that exits ends itself, and not the process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, Final

from mcp_transport.kernel import is_interrupt

__all__ = ["begin_handler", "contain_exits"]

# asyncio raises the first two out of the loop; the third closes the coroutine that waits for the task.
_UNHEARD: Final = (SystemExit, KeyboardInterrupt, GeneratorExit)

_in_handler: Final[ContextVar[bool]] = ContextVar("mcp_transport_in_handler", default=False)


def begin_handler() -> None:
    """Have the tasks contained that the running task makes, and those that they make."""
    _in_handler.set(True)


def contain_exits(loop: asyncio.AbstractEventLoop) -> None:
    """Let tasks of handlers end with an ordinary exception where they raise SystemExit or KeyboardInterrupt.

    These end the loop, and so the process with everybody's calls. A loop's task factory is the
    one place that `create_task`, `gather` and task groups have in common; one that was there before makes the tasks.
    """
    before = loop.get_task_factory()
    if getattr(before, "contains_exits", False):
        return

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        if _in_handler.get() and asyncio.iscoroutine(work):
            work = _Contained(work)
        return before(loop, work, **options) if before is not None else asyncio.Task(work, loop=loop, **options)

    make.contains_exits = True  # type: ignore[attr-defined]
    loop.set_task_factory(make)


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that does not exit."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except _UNHEARD as error:
            raise _contained(error) from None

    def throw(self, *error: Any) -> Any:
        try:
            return self._inner.throw(*error)
        except _UNHEARD as raised:
            raise _contained(raised) from None

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # what asyncio shows of a task: its frame, its name


def _contained(error: BaseException) -> BaseException:
    if is_interrupt(error):
        return error
    # Without its text, which asyncio would log, and with its stack.
    return RuntimeError(f"a task raised {type(error).__name__}").with_traceback(error.__traceback__)
