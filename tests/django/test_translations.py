"""Texts that are translated later: in declarations, messages, errors, and the language that each has."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as project
from django.utils import translation
from django.utils.translation import gettext_lazy as _
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

from mcp_transport import Context, discovery, prompt, resource, tool
from mcpsite.shop.models import Product
from tests.django.declared import each_mode, later
from tests.support.calls import error_of, listed, opened, text_of
from tests.support.client import send_sessionless
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


PASSWORD: Any = _("Password")
USERNAME: Any = _("Username")


class Login(BaseModel):
    word: str = Field(description=PASSWORD, title=USERNAME)


async def test_titles_descriptions_and_keys_of_meta_may_be_translations(serve: Serve) -> None:
    options: dict[str, Any] = {"title": PASSWORD, "description": USERNAME}

    def made(sku: str = "") -> Any: ...

    tool(**options, meta={PASSWORD: {USERNAME: 1}})(made)
    prompt(**options)(made)
    resource("shop://{sku}", **options)(made)
    for kind in ("tools", "prompts", "resources/templates"):
        described = await listed(serve(), kind, "made")
        assert (described["title"], described["description"]) == ("Password", "Username")
    assert (await listed(serve(), "tools", "made"))["_meta"] == {"Password": {"Username": 1}}


async def test_messages_besides_the_result_may_hold_translations(serve: Serve) -> None:
    @tool
    async def says(ctx: Context) -> str:
        await ctx.info({"a": [PASSWORD]})
        await ctx.report_progress(1, 2, PASSWORD)
        await ctx.elicit(PASSWORD, Login)
        return "said"

    client = await opened(serve())
    await client.request("logging/setLevel", {"level": "debug"})
    answer = await client.call("says")
    log, progress, question = [(await answer.message() or {})["params"] for _ in range(3)]
    assert (log["data"], progress["message"], question["message"]) == ({"a": ["Password"]}, "Password", "Password")
    assert question["requestedSchema"]["properties"]["word"]["title"] == "Username"
    answer.close()


@each_mode
async def test_the_data_of_an_error_are_written_as_a_result(is_async: bool, serve: Serve) -> None:
    def made() -> str:
        raise MCPError(-32001, "gone", {PASSWORD: [USERNAME, Product(id=1, sku="mug", price="7.50")]})

    tool(later(made) if is_async else made)
    error = await error_of(serve(), "tools/call", {"name": "made", "arguments": {}})
    assert error["data"]["Password"][0] == "Username" and error["data"]["Password"][1]["sku"] == "mug"


async def test_declarations_have_the_language_of_the_project_and_results_that_of_the_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def declare() -> None:
        tool(name="made", title=PASSWORD)(lambda: PASSWORD)

    monkeypatch.setattr(discovery, "_callbacks", [declare])
    monkeypatch.setattr(discovery, "_discovered", set())
    monkeypatch.setattr(discovery, "autodiscover_modules", lambda name: None)
    with translation.override("de"):
        discovery.discover()
        assert translation.get_language() == "de" != project.LANGUAGE_CODE
    assert (await listed(serve(), "tools", "made"))["title"] == "Password"
    with translation.override("de"):
        answer = await send_sessionless(serve(), "tools/call", {"name": "made", "arguments": {}})
        assert text_of(answer) == "Passwort"
