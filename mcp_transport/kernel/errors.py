"""Exceptions of handlers, as opposed to cancellation and Ctrl-C."""

from __future__ import annotations

import asyncio
import signal

from mcp.shared.exceptions import MCPError

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INTERNAL_ERROR, INVALID_REQUEST

__all__ = [
    "CallEnded",
    "ClientError",
    "MCPError",
    "NoChannel",
    "Refused",
    "TooLarge",
    "is_cancellation",
    "is_interrupt",
]


class TooLarge(MCPError):
    """A handler's result, or another message that it sent, is too large."""

    def __init__(self, name: str, size: int | str, limit: int) -> None:
        super().__init__(INTERNAL_ERROR, f"{name} has {size} bytes, at most {limit} can be sent")


class Refused(MCPError):
    """A function is not called, since too many run and wait: the request ends with an HTTP `status` if it can."""

    def __init__(self, refusal: ProtocolError) -> None:
        super().__init__(refusal.code, refusal.message, refusal.data)
        self.status = refusal.status


class ClientError(MCPError):
    """The client answered a request of ours with an error."""


class NoChannel(MCPError):
    """The client cannot be sent a request: there is no stream to carry it."""

    def __init__(self, method: str) -> None:
        super().__init__(
            INVALID_REQUEST,
            f"{method} cannot be sent: this request is answered with one JSON document, or the client speaks "
            "2026-07-28, where a handler returns an InputRequiredResult instead",
        )


class CallEnded(NoChannel):
    """The call that asked its client has ended, but its function runs on: in a thread, or for others of a batch."""

    def __init__(self, method: str) -> None:
        MCPError.__init__(self, INVALID_REQUEST, f"{method} gets no reply: its call has ended")


def is_cancellation(error: BaseException) -> bool:
    """Return whether an exception is no failure: the running task was cancelled, or Ctrl-C was pressed.

    A handler may raise CancelledError itself, without a cancellation of its task: that is a failure.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return is_interrupt(error)


def is_interrupt(error: BaseException) -> bool:
    """Return whether an exception may be Ctrl-C.

    Only Python's default SIGINT handler raises KeyboardInterrupt in arbitrary code. Servers and `asyncio.run` replace
    it; with them, the exception was raised by the tool itself.
    """
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
