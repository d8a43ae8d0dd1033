"""The results of prompts, in the form that the SDK accepts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from mcp_types import GetPromptResult, PromptMessage

__all__ = ["convert_messages"]


def convert_messages(adapted: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Let a prompt return `PromptMessage` objects, which the SDK would send as JSON text."""

    @functools.wraps(adapted)
    async def run(*args: Any, **kwargs: Any) -> Any:
        returned = await adapted(*args, **kwargs)
        messages = returned.messages if isinstance(returned, GetPromptResult) else returned
        return [_converted(item) for item in messages] if isinstance(messages, list | tuple) else _converted(messages)

    return run


def _converted(message: Any) -> Any:
    return {"role": message.role, "content": message.content} if isinstance(message, PromptMessage) else message
