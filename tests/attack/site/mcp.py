"""Tools, resources and prompts: some for attackers to call, some that misbehave by themselves."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from mcp_types import Completion, CompletionArgument
from pydantic import BaseModel, Field

from mcp_transport import Context, completion, prompt, resource, tool

FOLDER = Path(os.environ.get("SITE_FOLDER", "/nonexistent"))
NAME_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}

_released = asyncio.Event()
_sleeping = 0


# -- what works


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
async def total(xs: list[int]) -> int:
    """Add all."""
    return sum(xs)


@tool
async def measure(value: Any, seconds: float = 0.0) -> int:
    """Wait with an argument of any kind, then answer."""
    await asyncio.sleep(seconds)
    return 1


@tool
async def optional(a: int | None = None, b: str = "", c: dict[str, int] | None = None) -> str:
    """Take this and that."""
    return f"{a} {b} {c}"


@tool
async def hold() -> str:
    """Wait for `release`: a neighbour's call that no attack may end."""
    await _released.wait()
    return "held"


@tool
async def release() -> str:
    """Let `hold` go on to its end."""
    _released.set()
    _released.clear()
    return "released"


@tool
async def sleep(seconds: float) -> str:
    """Sleep, and be counted by `sleeping`."""
    global _sleeping
    _sleeping += 1
    try:
        await asyncio.sleep(seconds)
    finally:
        _sleeping -= 1
    return "slept"


@tool
async def sleeping() -> int:
    """Count the calls of `sleep` under way in this process."""
    return _sleeping


@tool
async def ask(ctx: Context) -> str:
    """Ask the user for a name."""
    answer = await ctx.elicit_form("name?", NAME_SCHEMA)
    return f"{answer.action} {str(answer.content)[:100]}"


@tool
async def announce(ctx: Context, count: int = 1, size: int = 20) -> str:
    """Tell everybody that a resource with a name of so many bytes changed, so many times."""
    for _ in range(count):
        await ctx.notify_resource_updated(f"test://{0:0{size}}")
        await asyncio.sleep(0)
    return "announced"


@tool(permission="auth.add_user")
async def hidden() -> str:
    """Be there for staff alone."""
    return "hidden"


@resource("hidden://{name}", permission="auth.add_user")
async def hidden_resource(name: str) -> str:
    """Be there for staff alone."""
    return name


@resource("test://{name}")
async def named(name: str) -> str:
    """Exist by any name."""
    return name[:10]


@prompt
async def greet(name: str) -> str:
    """Greet."""
    return f"Greet {name[:10]}."


@completion
async def names(ref: Any, argument: CompletionArgument, context: Any) -> Completion:
    """Complete a name."""
    return Completion(values=[argument.value[:10]])


# -- what ends in an odd way


class Odd(BaseException):
    """An exception that is no Exception."""


RAISED: dict[str, BaseException | type[BaseException]] = {
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "cancelled": asyncio.CancelledError(),
    "stop": StopIteration("none"),
    "async_stop": StopAsyncIteration("none"),
    "generator_exit": GeneratorExit(),
    "odd": Odd("odd"),
    "group": BaseExceptionGroup("several", [Odd("odd"), SystemExit(4)]),
    "memory": MemoryError(),
    "recursion": RecursionError(),
    "value": ValueError("wrong"),
}


async def _raise_async(kind: str) -> str:
    raise RAISED[kind]


def _raise_sync(kind: str) -> str:
    raise RAISED[kind]


for _way, _raise in {"async": _raise_async, "sync": _raise_sync}.items():  # on the loop, and in a thread
    tool(name=f"raise_{_way}")(_raise)
    resource(f"raise-{_way}://{{kind}}", name=f"raise_{_way}")(_raise)
    prompt(name=f"raise_{_way}_prompt")(_raise)


RETURNED: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "surrogate": "bad\udcff.txt",
    "large": 10**400,
    "object": object(),
    "bytes": b"\xff\x00",
    "key": {("a", 1): 2},
    "class": int,
}


@tool
async def return_odd(kind: str) -> Any:
    """Return what JSON has no word for."""
    return RETURNED[kind]


@tool
async def return_circle() -> Any:
    """Return a list that holds itself."""
    circle: list[Any] = []
    circle.append(circle)
    return circle


@tool
async def big(size: int) -> str:
    """Return so many bytes."""
    return "x" * size


@tool
def big_sync(size: int) -> str:
    """Return so many bytes from a thread."""
    return "x" * size


@tool
def slow_generator(count: int, seconds: float) -> Iterator[int]:
    """Yield as synchronous code does, with sleeps."""
    for number in range(count):
        time.sleep(seconds)
        yield number


@tool
def returned_generator(count: int, seconds: float) -> list[int]:
    """Return a generator in place of a list."""
    return slow_generator(count, seconds)  # type: ignore[return-value]


@tool
def endless_generator() -> Iterator[str]:
    """Yield for ever."""
    yield from itertools.repeat("x" * 1000)


@tool(durable=True)
async def exit_durably(name: str) -> str:
    """Note the run, and end the process as a crash does."""
    _note(name)
    os._exit(9)


@tool(durable=True)
async def block_durably(name: str, seconds: float) -> str:
    """Note the run, and block the loop beyond the lease."""
    _note(name)
    time.sleep(seconds)  # noqa: ASYNC251 (that is the point)
    return "blocked"


def _note(name: str) -> None:
    with (FOLDER / f"{name}.runs").open("a") as file:
        file.write(f"{os.getpid()}\n")


class Line(BaseModel):
    """A line of an order."""

    article: str = Field(min_length=1, max_length=20)
    count: int = Field(ge=1, le=100)
    price: Decimal | None = None
    labels: dict[str, list[str]] = {}


@tool
async def order(number: int, lines: list[Line], due: date | None = None, size: Literal["s", "m"] = "s") -> int:
    """Take an order of several lines."""
    return len(lines)
