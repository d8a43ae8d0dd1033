"""What prompts return, as the SDK takes it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from mcp_types import GetPromptResult, PromptMessage

__all__ = ["answering"]


def answering(adapted: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Let a prompt return the protocol's own messages, which the SDK would send as the text of their JSON."""

    @functools.wraps(adapted)
    async def run(*args: Any, **kwargs: Any) -> Any:
        returned = await adapted(*args, **kwargs)
        messages = returned.messages if isinstance(returned, GetPromptResult) else returned
        return [_taken(item) for item in messages] if isinstance(messages, list | tuple) else _taken(messages)

    return run


def _taken(message: Any) -> Any:
    return {"role": message.role, "content": message.content} if isinstance(message, PromptMessage) else message
