"""Functions to declare, and what is answered to requests of both eras for them."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import send_sessionless

ERAS = ("2025-11-25", "2026-07-28")
each_era = pytest.mark.parametrize(
    "era", [ERAS[-1], *(pytest.param(era, marks=pytest.mark.slow) for era in ERAS[:-1])]
)
each_mode = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])

_UNANNOTATED = object()


def returning(value: Any, kind: Any = _UNANNOTATED, is_async: bool = False) -> Any:
    """Return a function named `made` that returns a value, and promises a type, if one is given."""

    def made() -> Any:
        return value

    async def made_later() -> Any:
        return value

    made_later.__name__ = "made"
    function = made_later if is_async else made
    function.__annotations__ = {} if kind is _UNANNOTATED else {"return": kind}
    return function


def fits(value: Any, schema: Any) -> bool:
    """Tell whether a value is as a JSON schema says."""
    return bool(Draft202012Validator(schema).is_valid(value))


def later(function: Any) -> Any:
    """Return the coroutine function that does what a plain one does, with the same signature."""

    @functools.wraps(function)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return coroutine


async def response(endpoint: Endpoint, era: str, method: str, params: dict[str, Any]) -> Any:
    """Return the JSON-RPC response to a request, which must come."""
    meta = {"progressToken": "p"}
    async with asyncio.timeout(60):
        if era == "2026-07-28":
            answer = await send_sessionless(endpoint, method, params, meta=meta)
        else:
            answer = await (await opened(endpoint)).request(method, {**params, "_meta": meta})
        return answer.json if answer.stream is None else (await answer.messages())[-1]
