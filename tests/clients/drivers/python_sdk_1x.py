"""Run the job in the first argument (JSON) with the Python SDK 1.x; print a JSON report."""

# mypy sees the SDK 2.x, which has other names:
# mypy: ignore-errors

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

import anyio
from mcp import ClientSession, McpError, types
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl

TIMEOUT_SECONDS = timedelta(seconds=0.3)


async def request(session: ClientSession, name: str, arguments: dict[str, Any], **options: Any) -> types.Result:
    """Call a tool, or list the tools."""
    if name == "tools/list":
        return await session.list_tools()
    return await session.call_tool(name, arguments, **options)


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Connect, list, read, and make the calls in order."""
    questions: list[str] = []
    logs: list[str] = []

    async def answer(_context: object, question: types.ElicitRequestParams) -> types.ElicitResult:
        questions.append(question.message)
        if job["answer"] == "throw":
            raise ValueError("the handler failed")
        return types.ElicitResult(**job["answer"])

    async def log(message: types.LoggingMessageNotificationParams) -> None:
        logs.append(str(message.data))

    async def call(
        session: ClientSession, name: str, arguments: dict[str, Any], stopped_after: str = ""
    ) -> dict[str, Any]:
        """Make a call, stopped by "cancel" at its first progress or by "time out"."""
        progress: list[Any] = []
        logs.clear()

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            progress.append([done, total, message])
            if stopped_after == "cancel":
                asyncio.get_running_loop().call_soon(scope.cancel)

        scope, timeout_seconds = anyio.CancelScope(), TIMEOUT_SECONDS if stopped_after == "time out" else None
        try:
            with scope:
                result = await request(
                    session, name, arguments, read_timeout_seconds=timeout_seconds, progress_callback=on_progress
                )
            if scope.cancelled_caught:
                return {"error": "cancelled", "progress": progress}
        except McpError as error:
            return {**error.error.model_dump(exclude={"message"}), "error": error.error.message, "progress": progress}
        return {**result.model_dump(), "progress": progress, "logs": list(logs)}

    async with (
        streamable_http_client(job["url"]) as (read, write, _),
        ClientSession(read, write, elicitation_callback=answer, logging_callback=log) as session,
    ):
        hello = await session.initialize()
        if hello.capabilities.logging:
            await session.set_logging_level("info")
        resource = await session.read_resource(AnyUrl("shop://products/mug-blue"))
        prompt = await session.get_prompt("order_summary", {"number": "SO-1001"})
        return {
            "protocol": hello.protocolVersion,
            "server": hello.serverInfo.name,
            "tools": [tool.name for tool in (await session.list_tools()).tools],
            "resources": [str(item.uri) for item in (await session.list_resources()).resources],
            "templates": [item.uriTemplate for item in (await session.list_resource_templates()).resourceTemplates],
            "prompts": [item.name for item in (await session.list_prompts()).prompts],
            "resource": resource.contents[0].text,
            "prompt": prompt.messages[0].content.text,
            "calls": [await call(session, *each) for each in job["calls"]],
            "asked": questions,
            "lingered": await asyncio.sleep(job["linger"] / 1000),  # to observe the transport
        }


print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
