"""Makes a message that shows a fault as small as it can be."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from tests.attack.generated.mutations import places

MAX_TRIES = 150


async def shrunk(message: Any, is_faulty: Callable[[Any], Awaitable[bool]]) -> Any:
    """Return the smallest message found that is still faulty."""
    tries = 0
    again = True
    while again:
        again = False
        for smaller in _smaller(message):
            tries += 1
            if tries > MAX_TRIES:
                return message
            if await is_faulty(smaller):
                message, again = smaller, True
                break
    return message


def _smaller(message: Any) -> Iterator[Any]:
    """Yield messages with one member less, or one value that is simpler."""
    for number in range(min(sum(1 for _ in places(message)), MAX_TRIES)):
        changed = copy.deepcopy(message)
        outer, key = next(place for at, place in enumerate(places(changed)) if at == number)
        if key not in ("jsonrpc", "method", "id", "params"):
            del outer[key]
            yield changed
        value = None if key in ("jsonrpc", "method", "id", "params") else _simpler(_value(message, number))
        if value is not None:
            changed = copy.deepcopy(message)
            outer, key = next(place for at, place in enumerate(places(changed)) if at == number)
            outer[key] = value
            yield changed


def _value(message: Any, number: int) -> Any:
    outer, key = next(place for at, place in enumerate(places(message)) if at == number)
    return outer[key]


def _simpler(value: Any) -> Any:
    """Return a smaller value of the same kind, None where there is none."""
    if isinstance(value, str) and len(value) > 1:
        return value[: len(value) // 2]
    if isinstance(value, list) and len(value) > 1:
        return value[: len(value) // 2]
    if isinstance(value, dict) and len(value) > 3:
        return dict([*value.items()][: len(value) // 2])
    return None
