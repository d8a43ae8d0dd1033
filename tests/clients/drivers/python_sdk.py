"""Run the job in the first argument (JSON) with the Python SDK 2.x; print a JSON report."""

import asyncio
import json
import sys
import warnings
from typing import Any

import anyio
import mcp_types as types
from mcp import Client, MCPDeprecationWarning, MCPError

TIMEOUT_SECONDS = 0.3

warnings.simplefilter("ignore", MCPDeprecationWarning)  # logging, which 2026-07-28 deprecates


async def request(client: Client, name: str, arguments: dict[str, Any], **options: Any) -> types.Result:
    """Call a tool, or list the tools."""
    if name == "tools/list":
        return await client.list_tools(cache_mode="bypass")
    return await client.call_tool(name, arguments, **options)


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Connect, list, read, and make the calls in order."""
    questions: list[str] = []
    logs: list[str] = []

    async def answer(context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        questions.append(params.message)
        if job["answer"] == "throw":
            raise ValueError("the handler failed")
        return types.ElicitResult(**job["answer"])

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        logs.append(str(params.data))

    async def call(client: Client, name: str, arguments: dict[str, Any], stopped_after: str = "") -> dict[str, Any]:
        """Make a call, stopped by "cancel" at its first progress or by "time out"."""
        steps: list[Any] = []
        logs.clear()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            steps.append([progress, total, message])
            if stopped_after == "cancel":
                asyncio.get_running_loop().call_soon(scope.cancel)

        scope, timeout_seconds = anyio.CancelScope(), TIMEOUT_SECONDS if stopped_after == "time out" else None
        try:
            with scope:
                result = await request(
                    client, name, arguments, read_timeout_seconds=timeout_seconds, progress_callback=on_progress
                )
            if scope.cancelled_caught:
                return {"error": "cancelled", "progress": steps}
        except MCPError as error:
            return {**error.error.model_dump(exclude={"message"}), "error": error.error.message, "progress": steps}
        return {**result.model_dump(by_alias=True), "progress": steps, "logs": list(logs)}

    async with Client(
        job["url"],
        mode=job["mode"],  # "auto" is the default; "legacy" opens a session
        elicitation_callback=answer,
        logging_callback=log,
        log_level="info",  # 2026-07-28: sent with every request
    ) as client:
        if client.protocol_version < "2026" and client.server_capabilities.logging:
            await client.set_logging_level("info")
        resource = await client.read_resource("shop://products/mug-blue")
        prompt = await client.get_prompt("order_summary", {"number": "SO-1001"})
        report = {
            "protocol": client.protocol_version,
            "server": client.server_info and client.server_info.name,
            "tools": [tool.name for tool in (await client.list_tools()).tools],
            "resources": [str(item.uri) for item in (await client.list_resources()).resources],
            "templates": [item.uri_template for item in (await client.list_resource_templates()).resource_templates],
            "prompts": [item.name for item in (await client.list_prompts()).prompts],
            "resource": getattr(resource.contents[0], "text", ""),
            "prompt": getattr(prompt.messages[0].content, "text", ""),
            "calls": [await call(client, *each) for each in job["calls"]],
            "asked": questions,
        }
        await asyncio.sleep(job["linger"] / 1000)  # to observe the transport
        return report


print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
