"""Do with the Python SDK 1.x what the JSON in the first argument says; print one JSON report."""

import asyncio
import json
import sys
from typing import Any

from mcp import ClientSession, McpError, types
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Connect, list, read, make the calls one after the other."""
    asked: list[str] = []
    logs: list[str] = []

    async def answer(_context: object, question: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(question.message)
        return types.ElicitResult(**job["answer"])

    async def log(message: types.LoggingMessageNotificationParams) -> None:
        logs.append(str(message.data))

    async def call(session: ClientSession, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        progress: list[Any] = []
        logs.clear()

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            progress.append([done, total, message])

        try:
            result = await session.call_tool(name, arguments, progress_callback=on_progress)
        except McpError as error:
            return {"error": error.error.message, "progress": progress}
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
            "resources": [str(found.uri) for found in (await session.list_resources()).resources],
            "templates": [found.uriTemplate for found in (await session.list_resource_templates()).resourceTemplates],
            "prompts": [found.name for found in (await session.list_prompts()).prompts],
            "resource": resource.contents[0].text,
            "prompt": prompt.messages[0].content.text,
            "calls": [await call(session, name, arguments) for name, arguments in job["calls"]],
            "asked": asked,
        }


print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
