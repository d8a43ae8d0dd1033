"""Tasks started by handlers: one that raises SystemExit must not end the process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from mcp_transport.domain.current_call import current_call
from mcp_transport.kernel import is_interrupt

__all__ = ["contain_exits"]

# asyncio propagates the first two out of the loop; the third closes the coroutine that awaits the task.
_EXITS: Final = (SystemExit, KeyboardInterrupt, GeneratorExit)


def contain_exits(loop: asyncio.AbstractEventLoop) -> None:
    """Turn SystemExit and KeyboardInterrupt in tasks that handlers start into an ordinary exception.

    They would end the loop, and with it the process and all of its calls. The loop's task factory is the one place
    that `create_task`, `gather` and task groups share; an existing factory still creates the tasks.
    """
    previous = loop.get_task_factory()
    if getattr(previous, "contains_exits", False):
        return

    def create_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        if current_call.get() is not None and asyncio.iscoroutine(work):
            work = _Contained(work)
        return previous(loop, work, **options) if previous is not None else asyncio.Task(work, loop=loop, **options)

    create_task.contains_exits = True  # type: ignore[attr-defined]
    loop.set_task_factory(create_task)


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine whose exits become ordinary exceptions."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except _EXITS as error:
            raise _contained(error) from None

    def throw(self, *error: Any) -> Any:
        try:
            return self._inner.throw(*error)
        except _EXITS as raised:
            raise _contained(raised) from None

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # such as the frame and the name, which asyncio shows


def _contained(error: BaseException) -> BaseException:
    if is_interrupt(error):
        return error
    # With its traceback but without its text, which asyncio would log.
    return RuntimeError(f"a task raised {type(error).__name__}").with_traceback(error.__traceback__)
