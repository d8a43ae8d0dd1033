"""What a client sends is cut and escaped in log lines; a log that fails costs nobody an answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

from mcp_transport import log_redaction, prompt, resource, tool
from mcp_transport.domain.session import session_key, short_id
from tests.django.declared import ERAS, response
from tests.support.calls import call, error_of, opened
from tests.support.client import until
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

FORGED = "notifications/x\r\n2026-01-01 ERROR forged \x1b[31m\u2028"


def lines_with(caplog: pytest.LogCaptureFixture, *arguments: str) -> list[str]:
    """Return what was logged as it would be written, if it has all of some words."""
    lines = map(logging.Formatter().format, caplog.records)
    return [line for line in lines if all(word in line for word in arguments)]


async def test_a_notification_writes_one_line_without_control_characters(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    client = await opened(serve())
    assert (await client.notify(FORGED)).status == 202
    assert (await client.request("ping")).status == 200
    await until(lambda: lines_with(caplog, "forged"))  # a notification is answered before it is handled
    [line] = lines_with(caplog, "forged")
    text, _, session = line.partition(" session=")
    assert text == r"no handler for notification notifications/x\r\n2026-01-01 ERROR forged \x1b[31m\u2028"
    assert session == short_id(session_key(client.session_id))


async def test_a_notification_that_should_be_a_request_is_taken_and_not_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    client = await opened(serve())
    params = {"name": "unknown", "uri": "x://y", "requestState": "forged"}
    for method in ("tools/call", "prompts/get", "resources/read"):
        assert (await client.notify(method, params)).status == 202
    assert (await client.request("ping")).status == 200
    assert not [line for word in ("rejected", "raised", "unknown") for line in lines_with(caplog, word)]


async def test_a_long_uri_is_cut(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    @resource("shop://{name}")
    def read(name: str) -> str:
        raise LookupError(name)

    error = await error_of(serve(), "resources/read", {"uri": "shop://" + "n" * 5000})
    assert len(error["message"]) < 500
    assert 0 < max(len(line.partition("\n")[0]) for line in lines_with(caplog)) < 1000


@pytest.mark.parametrize("texts", [True, False])
async def test_what_a_tool_says_on_purpose_is_cut_in_the_log(
    texts: bool, serve: Serve, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCP_TRANSPORT = {"LOG_EXCEPTION_TEXTS": texts}

    @tool
    async def refuse(text: str) -> str:
        raise ToolError(f"not {text}")

    result = await call(serve(), "refuse", {"text": "t" * 5000})
    assert len(result["content"][0]["text"]) > 5000
    [line] = lines_with(caplog, "refuse", "failed")
    assert len(line) < 500


class Form(BaseModel):
    numbers: list[int]


async def test_a_long_text_of_an_exception_is_held_back_even_where_texts_are_wanted(
    serve: Serve, settings: Any, caplog: pytest.LogCaptureFixture
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
        caplog.clear()
        await call(serve(), "crash", {"kind": kind})
        [line] = lines_with(caplog, "crash", "raised an unexpected exception")
        assert text in line
        assert len(line) < 10_000


def test_every_logger_of_the_sdk_that_quotes_clients_is_covered() -> None:
    log_redaction.install()
    for name in ("mcp.server.runner", "mcp.server.mcpserver.server", "mcp.server.request_state"):
        kinds = [type(item) for item in logging.getLogger(name).filters]
        assert kinds.count(log_redaction.EscapeClientText) == 1


def test_texts_that_are_logged_whole_or_in_lists_are_cut_too() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "a\nb" + "c" * 500 + "%s", None, None)
    assert log_redaction.EscapeClientText().filter(record)
    assert record.getMessage() == r"a\nb" + "c" * 197 + "..."
    record = logging.LogRecord("x", logging.INFO, "", 0, "%r", (["a" * 500] * 500,), None)
    assert log_redaction.EscapeClientText().filter(record)
    assert len(record.getMessage()) < 20 * 220


# -- failures that are hard to log -------------------------------------------------------------------

REQUESTS: list[tuple[str, dict[str, Any]]] = [
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


async def all_fail(error: Exception, serve: Serve) -> None:
    """Raise an error in each kind of function, in both eras; each caller must hear of it."""

    def fails() -> str:
        raise error from error.__cause__

    tool(fails)
    prompt(fails)
    resource("data://fails")(fails)
    endpoint = serve()
    async with asyncio.timeout(60):
        for method, params in REQUESTS:
            for era in ERAS:
                message = await response(endpoint, era, method, params)
                assert "error" in message or message["result"]["isError"]


@pytest.mark.usefixtures("full_disk")
async def test_a_handler_of_logging_that_fails_costs_nobody_the_answer(serve: Serve) -> None:
    await all_fail(ValueError("odd"), serve)


@pytest.mark.parametrize("length", [1, 2, 3])
async def test_causes_that_go_in_a_circle_are_followed_once(length: int, serve: Serve) -> None:
    errors = [ToolError(str(number)) for number in range(length)]
    for number, error in enumerate(errors):
        error.__cause__ = errors[(number + 1) % length]
    await all_fail(errors[0], serve)
