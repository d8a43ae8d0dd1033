"""The official clients against the shop as a function of AWS Lambda: two sandboxes in turn, sessions in Redis.

Buffered responses have no progress, logs or questions in sessions (2025-11-25); everything else is as elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import DRIVERS, SETTINGS, NodeProject, unavailable
from tests.clients.contract import ORDER, PRODUCT, YES, Drive, Report, driver
from tests.support.aws_lambda.sandbox import front
from tests.support.processes import LOOPBACK, MissingProgramError
from tests.support.redis.server import RedisServer

PYTHON = str(DRIVERS / "python_sdk.py")
ADD = ("cart_add", {"sku": "mug-blue", "quantity": 1})


@pytest.fixture(scope="module")
def function(database: Path) -> Iterator[str]:
    """Serve the shop by a function behind an HTTP API; return the URL of its MCP endpoint."""
    try:
        with RedisServer() as redis:
            variables = {"MCPSITE_DATABASE": str(database), "REDIS_URL": redis.url}
            with front("http", SETTINGS, variables) as port:
                yield f"http://{LOOPBACK}:{port}/mcp"
    except MissingProgramError as missing:
        unavailable(str(missing))


async def in_session(client: Drive, url: str) -> None:
    """Use a session, each of whose calls comes to another sandbox than the one before."""
    report = await client(url, ADD, PRODUCT, ADD, ("cart_show", {}))
    assert_read(report, "2025-11-25")
    *_, cart = report["calls"]
    assert [line["quantity"] for line in cart["structuredContent"]["lines"]] == [2]


async def alone(client: Drive, url: str) -> None:
    """Use 2026-07-28, where a question to the client needs no stream."""
    report = await client(url, PRODUCT, ORDER, ("get_product", {"sku": "?"}), answer=YES)
    assert_read(report, "2026-07-28")
    product, order, missing = report["calls"]
    assert product["structuredContent"]["name"] == "Blue mug" and missing["isError"]
    assert "Blue mug" in report["asked"][0]
    assert order["structuredContent"]["lines"][0]["quantity"] == 2


def assert_read(report: Report, protocol: str) -> None:
    assert (report["protocol"], report["server"]) == (protocol, "shop")
    assert {"search_products", "place_order", "cart_add"} <= set(report["tools"])
    assert report["resources"] == ["shop://products"]
    assert "SO-1001" in report["prompt"]


async def test_python_client_in_a_session(function: str) -> None:
    await in_session(driver(sys.executable, PYTHON, mode="legacy"), function)


async def test_python_client_without_a_session(function: str) -> None:
    await alone(driver(sys.executable, PYTHON, mode="auto"), function)


@pytest.mark.npm
@pytest.mark.parametrize(("mode", "use"), [("legacy", in_session), ("auto", alone)])
async def test_typescript_client(node_project: NodeProject, function: str, mode: str, use: Any) -> None:
    await use(driver(*node_project.command("typescript_client.mjs"), mode=mode), function)
