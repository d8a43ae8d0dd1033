"""What a client sends is cut and escaped in log lines, whoever writes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

from mcp_transport import logs, resource, tool
from tests.support.calls import call, error_of, opened

pytestmark = pytest.mark.usefixtures("declarations")

FORGED = "notifications/x\r\n2026-01-01 ERROR forged \x1b[31m\u2028"


class Lines(logging.Handler):
    """Remembers what is logged, as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(self.format(record))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Each line that the package and the SDK write, down to DEBUG."""
    handler, root, loggers = (
        Lines(),
        logging.getLogger(),
        [logging.getLogger(name) for name in ("mcp", "mcp_transport")],
    )
    levels = [logger.level for logger in loggers]
    root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield handler.kept
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    root.removeHandler(handler)


async def test_a_notification_writes_one_line_without_control_characters(lines: list[str], serve: Any) -> None:
    client = await opened(serve())
    assert (await client.notify(FORGED)).status == 202
    assert (await client.request("ping")).status == 200
    [line] = [line for line in lines if "forged" in line]
    assert line == r"no handler for notification notifications/x\r\n2026-01-01 ERROR forged \x1b[31m\u2028"


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
async def test_a_notification_that_should_be_a_request_is_taken_and_not_logged(
    lines: list[str], serve: Any, method: str
) -> None:
    client = await opened(serve())
    lines.clear()
    assert (await client.notify(method, {"name": "unknown", "uri": "x://y", "requestState": "forged"})).status == 202
    assert (await client.request("ping")).status == 200
    assert not [line for line in lines if "rejected" in line or "raised" in line or "unknown" in line]


async def test_a_long_uri_is_cut(lines: list[str], serve: Any) -> None:
    @resource("shop://{name}")
    def read(name: str) -> str:
        raise LookupError(name)

    error = await error_of(serve(), "resources/read", {"uri": "shop://" + "n" * 5000})
    assert len(error["message"]) < 500
    assert lines
    assert max(len(line.partition("\n")[0]) for line in lines) < 1000


@pytest.mark.parametrize("texts", [True, False])
async def test_what_a_tool_says_on_purpose_is_cut_in_the_log(
    lines: list[str], serve: Any, settings: Any, texts: bool
) -> None:
    settings.MCP_TRANSPORT = {"LOG_EXCEPTION_TEXTS": texts}

    @tool
    async def refuse(text: str) -> str:
        raise ToolError(f"not {text}")

    result = await call(serve(), "refuse", {"text": "t" * 5000})
    assert len(result["content"][0]["text"]) > 5000
    [line] = [line for line in lines if "refuse" in line and "failed" in line]
    assert len(line) < 500


class Form(BaseModel):
    numbers: list[int]


async def test_a_long_text_of_an_exception_is_held_back_even_where_texts_are_wanted(
    lines: list[str], serve: Any, settings: Any
) -> None:
    settings.MCP_TRANSPORT = {"LOG_EXCEPTION_TEXTS": True}

    @tool
    async def crash(kind: str) -> str:
        if kind == "validation":
            return str(Form.model_validate({"numbers": ["a"] * 100_000}))
        raise ValueError("v" * (5 if kind == "short" else 1_000_000))

    for kind, text in (
        ("short", "ValueError: vvvvv"),
        ("long", "(text withheld)"),
        ("validation", "(text withheld)"),
    ):
        lines.clear()
        began = time.thread_time()
        await call(serve(), "crash", {"kind": kind})
        assert time.thread_time() - began < 0.5
        [line] = [line for line in lines if "crash" in line and "raised an unexpected exception" in line]
        assert text in line
        assert len(line) < 10_000


def test_every_logger_of_the_sdk_that_quotes_clients_is_covered() -> None:
    logs.install()
    for name in ("mcp.server.runner", "mcp.server.mcpserver.server", "mcp.server.request_state"):
        kinds = [type(known) for known in logging.getLogger(name).filters]
        assert kinds.count(logs.Quoted) == 1


def test_a_text_that_is_logged_whole_is_cut_too() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "a\nb" + "c" * 500 + "%s", None, None)
    assert logs.Quoted().filter(record)
    assert record.getMessage() == r"a\nb" + "c" * 197 + "..."


def test_lists_of_texts_are_cut_in_number_and_size() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "%r", (["a" * 500] * 500,), None)
    assert logs.Quoted().filter(record)
    assert len(record.getMessage()) < 20 * 220
