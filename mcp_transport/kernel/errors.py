"""What handlers raise, told apart from what is asked of them."""

from __future__ import annotations

import asyncio
import signal

from mcp.shared.exceptions import MCPError

from mcp_transport.protocol.errors import INTERNAL_ERROR

__all__ = ["MCPError", "TooLarge", "is_cancellation", "is_interrupt"]


class TooLarge(MCPError):
    """A handler's result, or another message of it, is larger than can be sent."""

    def __init__(self, what: str, size: int | str, limit: int) -> None:
        super().__init__(INTERNAL_ERROR, f"{what} has {size} bytes, at most {limit} can be sent")


def is_cancellation(error: BaseException) -> bool:
    """Tell whether an exception is no failure: the running task is cancelled, or somebody presses Ctrl-C."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return is_interrupt(error)


def is_interrupt(error: BaseException) -> bool:
    """Tell whether an exception may be Ctrl-C.

    Only Python's own handler of SIGINT raises it in whatever code runs. Servers, and `asyncio.run`, have replaced it:
    there a KeyboardInterrupt comes from the handler itself.
    """
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
