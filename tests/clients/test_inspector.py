"""The Inspector's command lines: `--cli`, one connection for each command, and `mcpdo`, which keeps one open.

What they cannot do: neither asks for progress nor shows it (2.12.0 creates its client with `progress: false`).
`--cli` declares no elicitation and so cannot answer one, and knows no subscriptions; `mcpdo`, of the same
package, does both. `--cli` runs on @modelcontextprotocol/client and resumes a cut stream as that does; a log
message, which it always asks for, takes the place of progress as the event to cut after. Without a session it
waits for ever for the answer of a stream that was cut, so there is no test of that.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import NodeProject
from tests.clients.contract import ORDER, RUN_SECONDS, STEPS, YES, driver, finished
from tests.clients.proxy import CuttingProxy

pytestmark = pytest.mark.npm

FAILED = 1  # the exit status when a request was answered with an error
TOOL_ERROR = 5  # and when the result of a tool says isError

Command = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["legacy", "modern"])
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def environment() -> Any:
    """Return an environment with a new home, so that no files of the user are used."""
    # A short path, as mcpdo keeps a Unix socket in it; its daemon may still be tidying up when the test is over.
    with tempfile.TemporaryDirectory(prefix="mcp", ignore_cleanup_errors=True) as home:
        yield {
            **os.environ,
            "HOME": home,
            "MCP_STORAGE_DIR": home,
            "MCP_INSPECTOR_DAEMON_DIR": home,
            "MCP_INSPECTOR_SECRET_STORE": "file",
        }


@pytest.fixture
def cli(node_project: NodeProject, environment: dict[str, str]) -> Command:
    """Return a function that runs `mcp-inspector --cli URL --method METHOD ...`."""
    program = *node_project.command("node_modules/.bin/mcp-inspector"), "--cli"

    async def run(url: str, method: str, *options: str, status: int = 0) -> Any:
        arguments = *program, url, "--method", method, "--format", "json", *options
        answer = json.loads(await finished(*arguments, env=environment, status=status))
        return answer["error" if status == FAILED else "result"]

    return run


class TestCli:
    async def test_introduces_itself(self, cli: Command, server: str, era: str) -> None:
        hello = await cli(server, "initialize", "--protocol-era", era)
        assert hello["serverInfo"]["name"] == "shop"
        assert hello["protocolVersion"] == {"legacy": "2025-11-25", "modern": "2026-07-28"}[era]

    async def test_lists_and_reads(self, cli: Command, server: str, era: str) -> None:
        tools = await cli(server, "tools/list", "--protocol-era", era)
        assert {"search_products", "place_order"} <= {tool["name"] for tool in tools["tools"]}
        read = await cli(server, "resources/read", "--uri", "shop://products/mug-blue", "--protocol-era", era)
        assert json.loads(read["contents"][0]["text"])["sku"] == "mug-blue"
        templates = await cli(server, "resources/templates/list", "--protocol-era", era)
        assert [result["uriTemplate"] for result in templates["resourceTemplates"]] == ["shop://products/{sku}"]
        prompt = ["--prompt-name", "order_summary", "--prompt-args", "number=SO-1001"]
        prompted = await cli(server, "prompts/get", *prompt, "--protocol-era", era)
        assert "SO-1001" in prompted["messages"][0]["content"]["text"]

    async def test_calls_tools(self, cli: Command, server: str, era: str) -> None:
        get = ["--tool-name", "get_product", "--protocol-era", era, "--tool-arg"]
        result = await cli(server, "tools/call", *get, "sku=mug-blue")
        assert result["structuredContent"]["name"] == "Blue mug"
        missing = await cli(server, "tools/call", *get, "sku=?", status=TOOL_ERROR)
        assert missing["isError"]

    async def test_calls_a_tool_many_times_at_once(self, cli: Command, server: str, era: str) -> None:
        load = ["--load", "--load-requests", "100", "--load-concurrency", "20"]
        summary = await cli(server, "tools/call", "--tool-name", "search_products", *load, "--protocol-era", era)
        assert summary["requests"] == summary["ok"] == 100

    async def test_resumes_a_cut_stream(self, cli: Command, server: str) -> None:
        count = ["--tool-name", "count_slowly", "--tool-arg", f"steps={STEPS}", "delay_ms=50"]
        async with CuttingProxy(server, 3, marker=b"notifications/message") as proxy:
            counted = await cli(proxy.url, "tools/call", *count)
        assert counted["content"][0]["text"] == f"Counted to {STEPS}."
        assert proxy.cuts == []
        assert len(proxy.resumptions) == 1
        assert proxy.tool_calls == 1

    async def test_is_told_why_it_cannot_order(self, cli: Command, server: str, era: str) -> None:
        order = ["--tool-name", "place_order", "--tool-args-json", json.dumps(ORDER[1])]
        refusal = await cli(server, "tools/call", *order, "--protocol-era", era, status=FAILED)
        assert "elicitation" in refusal["message"]


@pytest.fixture
async def mcpdo(
    node_project: NodeProject, environment: dict[str, str], server: str, era: str
) -> AsyncIterator[Command]:
    """Return a function that runs `mcpdo @shop COMMAND ...` on one connection, held open by a daemon."""
    program = *node_project.command("node_modules/.bin/mcpdo"), "--format", "json"

    async def run(*arguments: str, status: int = 0) -> Any:
        return json.loads(await finished(*program, *arguments, env=environment, status=status))

    async def run_on_shop(*arguments: str, status: int = 0) -> Any:
        return await run("@shop", *arguments, status=status)

    config = Path(environment["HOME"]) / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"shop": {"type": "streamable-http", "url": server}}}))
    try:
        await run("connect", "shop", "--config", str(config), "--era", era)
        yield run_on_shop
    finally:
        await run("daemon", "stop")


class TestMcpdo:
    async def test_lists_and_calls(self, mcpdo: Command, era: str) -> None:
        shown = await mcpdo("connections/show")
        assert shown["serverInfo"]["name"] == "shop"
        assert shown["protocolEra"] == era
        tools = await mcpdo("tools/list")
        assert {"search_products", "place_order"} <= {tool["name"] for tool in tools["tools"]}
        counted = await mcpdo("tools/call", "count_slowly", json.dumps({"steps": STEPS, "delay_ms": 5}))
        assert counted["content"][0]["text"] == f"Counted to {STEPS}."

    @pytest.mark.parametrize("era", ["legacy"])
    async def test_keeps_state_in_the_session(self, mcpdo: Command) -> None:
        for sku in "mug-blue", "tea-green":
            await mcpdo("tools/call", "cart_add", json.dumps({"sku": sku}))
        cart = await mcpdo("tools/call", "cart_show")
        assert {line["sku"] for line in cart["structuredContent"]["lines"]} == {"mug-blue", "tea-green"}

    @pytest.mark.parametrize("agreed", [True, False])
    async def test_answers_an_elicitation(self, mcpdo: Command, agreed: bool) -> None:
        tool, arguments = ORDER
        question = await mcpdo("tools/call", tool, json.dumps(arguments))
        pending = question["elicitationPending"]
        assert "Blue mug" in pending["message"]
        answer = ["confirm:=true"] if agreed else ["--decline"]
        order = await mcpdo(
            "elicitation/respond", pending["elicitationId"], *answer, status=0 if agreed else TOOL_ERROR
        )
        assert order["isError"] is not agreed

    async def test_hears_of_a_change(
        self, mcpdo: Command, node_project: NodeProject, environment: dict[str, str], server: str
    ) -> None:
        resource = "shop://products/mug-blue"
        watcher = await asyncio.create_subprocess_exec(
            *node_project.command("node_modules/.bin/mcpdo"),
            *["--format", "json", "@shop", "resources/subscribe", resource],
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        assert watcher.stdout is not None
        buy = driver(sys.executable, "-m", "tests.clients.drivers.python_sdk", mode="auto")
        try:
            async with asyncio.timeout(RUN_SECONDS):
                event = json.loads(await watcher.stdout.readuntil(b"}\n"))
                assert event["type"] == "subscribed"
                await buy(server, ORDER, answer=YES)
                event = json.loads(await watcher.stdout.readuntil(b"}\n"))
                assert event == {"type": "resources/updated", "uri": resource}
        finally:
            watcher.terminate()
            await watcher.communicate()
