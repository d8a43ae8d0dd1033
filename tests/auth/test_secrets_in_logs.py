"""No tool argument, credential or session id in any log line at any level; tests/conftest.py looks at all of them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from mcp_transport import Context, bootstrap, prompt, resource, tool
from mcp_transport.engine.endpoint import Endpoint
from tests.support.canaries import PLANTED
from tests.support.client import SessionClient, send_sessionless

pytestmark = pytest.mark.usefixtures("declarations")

ARGUMENTS: dict[str, Any] = {"text": PLANTED}
TOOLS = ["says", "refuses", "crashes", "crashes_from", "counts", "tells", "missing"]


def declare() -> None:
    @tool
    def says(text: str) -> str:
        return text

    @tool
    def refuses(text: str) -> str:
        raise ToolError(f"no such thing: {text}")

    @tool
    def crashes(text: str) -> int:
        return int(text)

    @tool
    async def crashes_from(text: str, ctx: Context) -> int:
        try:
            return int(text)
        except ValueError as error:
            raise RuntimeError(text) from error

    @tool
    def counts(text: int) -> int:
        return text

    @tool
    async def tells(text: str, ctx: Context) -> str:
        await ctx.info(text)
        await ctx.report_progress(1, 2, text)
        return text

    @prompt
    def asks(text: str) -> str:
        raise ValueError(text)

    @resource("shop://{text}")
    def reads(text: str) -> str:
        raise ValueError(text)


@pytest.fixture
async def served(settings: Any) -> Any:
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": ["user", None]}
    declare()
    endpoint = bootstrap.endpoint()
    yield endpoint
    await endpoint.pool.stop()


@pytest.mark.parametrize("name", TOOLS)
async def test_arguments_are_not_logged(served: Endpoint, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = SessionClient(served)
    await client.open()
    for arguments in (ARGUMENTS, {PLANTED: 1}, {"text": [PLANTED]}):
        await client.request("tools/call", {"name": name, "arguments": arguments})
        await send_sessionless(served, "tools/call", {"name": name, "arguments": arguments})
    assert PLANTED not in caplog.text
    assert client.session_id not in caplog.text


async def test_what_crashed_where_is_still_logged(served: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    await send_sessionless(served, "tools/call", {"name": "crashes_from", "arguments": ARGUMENTS})
    assert "\nValueError: (text withheld)\n" in caplog.text
    assert "\nRuntimeError: (text withheld)\n" in caplog.text
    assert "the tool 'crashes_from' raised an unexpected exception: RuntimeError" in caplog.text
    assert "return int(text)" in caplog.text
    assert "test_secrets_in_logs.py" in caplog.text


async def test_texts_are_logged_where_that_is_wanted(
    served: Endpoint, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCP_TRANSPORT = {"LOG_EXCEPTION_TEXTS": True}
    for name in ("crashes", "refuses"):
        caplog.set_level(logging.INFO)
        await send_sessionless(served, "tools/call", {"name": name, "arguments": {"text": "harmless"}})
    assert "invalid literal for int() with base 10: 'harmless'" in caplog.text
    assert "no such thing: harmless" in caplog.text


async def test_failing_prompts_and_resources_log_no_texts(served: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    await send_sessionless(served, "prompts/get", {"name": "asks", "arguments": ARGUMENTS})
    await send_sessionless(served, "resources/read", {"uri": "shop://thing"})
    assert PLANTED not in caplog.text
    assert "ValueError" in caplog.text


async def test_credentials_are_not_logged(served: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    schemes = (f"Bearer {PLANTED}", f"Basic {PLANTED}", f"Bearer {PLANTED} x", f"{PLANTED} {PLANTED}", PLANTED)
    for authorization in schemes:
        caplog.clear()
        headers: dict[str, str | None] = {"authorization": authorization, "cookie": f"sessionid={PLANTED}"}
        answer = await send_sessionless(served, "tools/list", {}, headers=headers)
        assert answer.status == 401
        assert "refused" in caplog.text
        assert PLANTED not in caplog.text + answer.body.decode()
