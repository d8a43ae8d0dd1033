"""Failures that are hard to log: the caller gets an end all the same, and nobody waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from mcp_transport import prompt, resource, tool
from mcp_transport.logs import _unwrapped
from tests.support.calls import opened
from tests.support.client import send_sessionless

pytestmark = pytest.mark.usefixtures("declarations")

ASKED = [
    ("tools/call", {"name": "fails"}),
    ("prompts/get", {"name": "fails"}),
    ("resources/read", {"uri": "data://fails"}),
]


class Full(logging.Handler):
    """A handler whose disk is full."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no space left")


@pytest.fixture
def full_disk() -> Iterator[None]:
    logger, handler = logging.getLogger("mcp_transport"), Full(logging.ERROR)
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def declare(error: BaseException) -> None:
    def fails() -> str:
        raise error from error.__cause__

    tool(fails)
    prompt(fails)
    resource("data://fails")(fails)


@pytest.mark.parametrize(("method", "params"), ASKED)
@pytest.mark.usefixtures("full_disk")
async def test_a_handler_of_logging_that_fails_costs_nobody_the_answer(
    method: str, params: dict[str, Any], serve: Any
) -> None:
    declare(ValueError("odd"))
    endpoint = serve()
    client = await opened(endpoint)
    async with asyncio.timeout(5):
        for answer in (await client.request(method, params), await send_sessionless(endpoint, method, params)):
            message = answer.json if answer.stream is None else await answer.message()
            assert message is not None and ("error" in message or message["result"]["isError"])


@pytest.mark.parametrize("length", [1, 2, 3])
def test_causes_that_go_in_a_circle_are_followed_once(length: int) -> None:
    errors = [ToolError(str(number)) for number in range(length)]
    for number, error in enumerate(errors):
        error.__cause__ = errors[(number + 1) % length]
    assert _unwrapped(errors[0]) in errors


@pytest.mark.parametrize(("method", "params"), ASKED)
async def test_an_error_that_is_its_own_cause_is_answered(method: str, params: dict[str, Any], serve: Any) -> None:
    error = ToolError("no such row")
    error.__cause__ = error
    declare(error)
    answer = await send_sessionless(serve(), method, params)
    assert "error" in answer.json or answer.json["result"]["isError"]
