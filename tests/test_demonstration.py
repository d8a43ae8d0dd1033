"""The demonstration shop does its job end to end: served as `make run` serves it, used by the official client."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.client import ClientRequestContext

from tests.support.node import Node
from tests.support.processes import ROOT

MODES = {"auto": "2026-07-28", "legacy": "2025-11-25"}
"""How the client connects, and the revision that both sides speak then."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Serve the shop by daphne, with a database of its own."""
    database = tmp_path_factory.mktemp("shop") / "db.sqlite3"
    own = {"DJANGO_SETTINGS_MODULE": "mcpsite.settings", "MCPSITE_DATABASE": str(database)}
    for words in ["migrate", "--verbosity=0"], ["load_demo"]:
        command = [sys.executable, "manage.py", *words]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **own}, check=True, capture_output=True)  # noqa: S603
    with Node(settings="mcpsite.settings", application="mcpsite.asgi:application", environment=own) as node:
        yield node


@pytest.fixture(autouse=True)
def clients_keep_their_session_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence the client, which logs its session id; the server's log is searched for secrets when it stops."""
    monkeypatch.setattr(logging.getLogger("mcp.client.streamable_http"), "disabled", True)


class Customer:
    """What the user of a client sees, and what they answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.progress: list[tuple[float, float | None]] = []

    async def agree(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.asked.append(params.message)
        return types.ElicitResult(action="accept", content={"confirm": True})

    async def watch(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append((progress, total))


async def structured(client: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool; return its structured content without the wrapper of lists."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    content = result.structured_content or {}
    return content.get("result", content)


@pytest.mark.parametrize("mode", MODES)
async def test_customer_finds_a_product_and_orders_it(shop: Node, mode: Any) -> None:
    customer = Customer()
    async with Client(shop.url, mode=mode, elicitation_callback=customer.agree) as client:
        assert client.protocol_version == MODES[mode]
        assert "place_order" in [tool.name for tool in (await client.list_tools()).tools]
        [mug] = await structured(client, "search_products", query="blue mug")
        order = await structured(client, "place_order", sku=mug["sku"], email="ada@example.com", quantity=2)
        assert [(line["sku"], line["quantity"]) for line in order["lines"]] == [("mug-blue", 2)]
        assert len(customer.asked) == 1 and "2" in customer.asked[0]
        [page] = (await client.read_resource("shop://products/mug-blue")).contents
        assert isinstance(page, types.TextResourceContents)
        after = json.loads(page.text)
        assert after["stock"] == mug["stock"] - 2
        summary = await client.get_prompt("order_summary", {"number": order["number"]})
        [message] = summary.messages
        assert order["number"] in str(message.content)


@pytest.mark.parametrize("mode", MODES)
async def test_progress_of_a_report_arrives_in_order(shop: Node, mode: Any) -> None:
    customer = Customer()
    async with Client(shop.url, mode=mode) as client:
        result = await client.call_tool("restock_report", {"target": 50}, progress_callback=customer.watch)
    assert not result.is_error
    total = len(customer.progress)
    assert total > 1
    assert customer.progress == [(done, total) for done in range(1, total + 1)]


async def test_cart_lives_as_long_as_its_session(shop: Node) -> None:
    async with Client(shop.url, mode="legacy") as client, Client(shop.url, mode="legacy") as other:
        await structured(client, "cart_add", sku="mug-blue")
        cart = await structured(client, "cart_add", sku="tea-green", quantity=3)
        assert [(line["sku"], line["quantity"]) for line in cart["lines"]] == [("mug-blue", 1), ("tea-green", 3)]
        assert (await structured(other, "cart_show"))["lines"] == []
