"""Declaring resources, prompts and completions, and finding every app's declarations."""

import base64
import importlib
import json
import sys
from typing import Any

import pytest
from django.apps import apps
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.server.mcpserver.prompts.base import AssistantMessage, UserMessage
from mcp_types import Completion

from mcp_transport import Context, completion, prompt, resource
from mcp_transport.exceptions import DefinitionError
from mcpsite.shop.models import Product
from tests.support.calls import error_of, listed, opened, result_of

pytestmark = pytest.mark.usefixtures("declarations")

MUG = Product(id=1, sku="mug", name="Mug", price="7.50", stock=3)


async def read(endpoint: Any, uri: str, **options: Any) -> Any:
    [content] = (await result_of(endpoint, "resources/read", {"uri": uri}, **options))["contents"]
    return content


# -- resources ---------------------------------------------------------------------------------------


async def test_static_resource_is_listed_and_read(serve):
    @resource("shop://hours", title="Opening hours")
    def hours() -> str:
        """When we are there."""
        return "9 to 5"

    described = await listed(serve(), "resources", "hours")
    assert described["uri"] == "shop://hours"
    assert (described["title"], described["description"]) == ("Opening hours", "When we are there.")
    assert await read(serve(), "shop://hours") == {"uri": "shop://hours", "mimeType": "text/plain", "text": "9 to 5"}


async def test_options_replace_what_is_derived(serve):
    @resource("shop://hours", name="open", description="Else.", mime_type="text/markdown", meta={"example.com/a": 1})
    def hours() -> str:
        """Not this."""
        return "*9*"

    described = await listed(serve(), "resources", "open")
    assert (described["description"], described["mimeType"]) == ("Else.", "text/markdown")
    assert described["_meta"] == {"example.com/a": 1}


async def test_async_template_takes_variables_and_context(serve):
    @resource("shop://{shelf}/{place}", mime_type="text/plain")
    async def thing(shelf: str, place: int, ctx: Context) -> str:
        """What lies there."""
        return f"{shelf} {place + 1} {ctx.headers['mcp-name']} {ctx.protocol_version}"

    described = await listed(serve(), "resources/templates", "thing")
    assert described["uriTemplate"] == "shop://{shelf}/{place}"
    content = await read(serve(), "shop://left/4")
    assert (content["uri"], content["text"]) == ("shop://left/4", "left 5 shop://left/4 2026-07-28")


async def test_sync_template_takes_the_context(serve):
    @resource("shop://versions/{name}")
    def versions(name: str, ctx: Context) -> str:
        return f"{name} {ctx.protocol_version}"

    assert (await read(serve(), "shop://versions/a"))["text"] == "a 2026-07-28"


def test_static_resource_with_a_context_is_refused_where_it_is_declared():
    def version(ctx: Context) -> str:
        return ctx.protocol_version

    with pytest.raises(DefinitionError, match=r"test_resources\..*version: .*Context"):
        resource("shop://version")(version)


async def test_bytes_become_a_blob(serve):
    @resource("shop://logo", mime_type="image/png")
    def logo() -> bytes:
        return b"\x89PNG"

    content = await read(serve(), "shop://logo")
    assert base64.b64decode(content["blob"]) == b"\x89PNG"
    assert content["mimeType"] == "image/png"


@pytest.mark.parametrize("is_list", [False, True])
async def test_model_becomes_json(is_list, serve):
    @resource("shop://products/{sku}", mime_type="application/json")
    def product(sku: str) -> Any:
        return [MUG] if is_list else MUG

    found = json.loads((await read(serve(), "shop://products/mug"))["text"])
    assert (found[0] if is_list else found)["price"] == "7.50"


async def test_missing_resource_has_the_code_of_its_era(serve):
    @resource("shop://products/{sku}")
    def product(sku: str) -> str:
        raise ResourceNotFoundError(f"No product {sku}.")

    error = await error_of(serve(), "resources/read", {"uri": "shop://products/cup"})
    assert error["code"] == -32602
    assert (await error_of(serve(), "resources/read", {"uri": "other://x"}))["code"] == -32602
    client = await opened(serve())
    for uri in ("shop://products/cup", "other://x"):
        assert (await client.request("resources/read", {"uri": uri})).error_code == -32002


def test_resource_needs_a_uri():
    def hours() -> str:
        return ""

    with pytest.raises(DefinitionError, match="needs a URI"):
        resource(hours)


def test_uri_that_does_not_fit_the_parameters_is_refused(declarations):
    def product(number: str) -> str:
        return number

    with pytest.raises(DefinitionError, match=r"test_resources\..*product: .*sku"):
        resource("shop://products/{sku}")(product)
    assert not declarations.resources


def test_second_resource_at_a_uri_is_refused():
    def hours() -> str:
        return ""

    resource("shop://a")(hours)
    with pytest.raises(DefinitionError, match="the resource 'shop://a' is declared twice"):
        resource("shop://a")(hours)


def test_decorated_functions_stay_plain():
    def words() -> str:
        return "words"

    async def complete(ref: Any, argument: Any, context: Any) -> None:
        return None

    assert resource("shop://words")(words) is words
    assert prompt(words) is words
    assert prompt(name="again")(words) is words
    assert completion(complete) is complete
    assert words() == "words"


# -- prompts -----------------------------------------------------------------------------------------


async def test_prompt_text_becomes_a_users_message(serve):
    @prompt
    def praise(thing: str, tone: str = "plain") -> str:
        """Praise something."""
        return f"Praise {thing}, {tone}."

    described = await listed(serve(), "prompts", "praise")
    assert described["description"] == "Praise something."
    assert [(item["name"], item["required"]) for item in described["arguments"]] == [("thing", True), ("tone", False)]
    result = await result_of(serve(), "prompts/get", {"name": "praise", "arguments": {"thing": "tea"}})
    assert result["messages"] == [{"role": "user", "content": {"type": "text", "text": "Praise tea, plain."}}]


async def test_prompt_with_options_returns_messages_and_takes_the_context(serve):
    @prompt(name="talk", title="Talk", description="A dialogue.")
    async def dialogue(ctx: Context) -> list:
        return [UserMessage("Hello?"), AssistantMessage(f"Hello, {ctx.protocol_version}.")]

    described = await listed(serve(), "prompts", "talk")
    assert (described["title"], described["description"]) == ("Talk", "A dialogue.")
    assert not described.get("arguments")
    messages = (await result_of(serve(), "prompts/get", {"name": "talk"}))["messages"]
    assert [(item["role"], item["content"]["text"]) for item in messages] == [
        ("user", "Hello?"),
        ("assistant", "Hello, 2026-07-28."),
    ]


def test_second_prompt_of_a_name_is_refused():
    prompt(name="a")(lambda: "")
    with pytest.raises(DefinitionError, match="the prompt 'a' is declared twice"):
        prompt(name="a")(lambda: "")


def test_prompt_whose_annotations_lead_nowhere_is_refused():
    def lost(thing: "Nowhere") -> str:  # noqa: F821
        return thing

    with pytest.raises(DefinitionError, match=r"lost: the annotation 'Nowhere'"):
        prompt(lost)


# -- completions -------------------------------------------------------------------------------------

ASK = {"ref": {"type": "ref/prompt", "name": "praise"}, "argument": {"name": "thing", "value": "t"}}


@pytest.mark.parametrize("is_async", [False, True])
async def test_completion_answers(is_async, serve):
    def answer(ref: Any, argument: Any, context: Any) -> Completion | None:
        return Completion(values=[argument.value + "ea"], total=1) if ref.name == "praise" else None

    async def answer_later(ref: Any, argument: Any, context: Any) -> Completion | None:
        return answer(ref, argument, context)

    completion(answer_later if is_async else answer)
    completed = (await result_of(serve(), "completion/complete", ASK))["completion"]
    assert completed == {"values": ["tea"], "total": 1}
    other = {**ASK, "ref": {"type": "ref/prompt", "name": "blame"}}
    assert (await result_of(serve(), "completion/complete", other))["completion"]["values"] == []
    capabilities = (await result_of(serve(), "server/discover"))["capabilities"]
    assert "completions" in capabilities


async def test_without_completion_none_is_offered(serve):
    assert "completions" not in (await result_of(serve(), "server/discover"))["capabilities"]
    assert (await error_of(serve(), "completion/complete", ASK))["code"] == -32601


def test_second_completion_is_refused():
    async def first(ref: Any, argument: Any, context: Any) -> None: ...

    completion(first)
    with pytest.raises(DefinitionError, match=r"declared already, by tests\.django\.test_resources\..*first"):
        completion(first)


# -- autodiscovery -----------------------------------------------------------------------------------


def test_every_apps_mcp_module_is_imported(tmp_path, monkeypatch, settings, declarations):
    for name in ("first", "second", "silent"):
        (tmp_path / f"discovered_{name}").mkdir()
        (tmp_path / f"discovered_{name}" / "__init__.py").touch()
    for name in ("first", "second"):
        (tmp_path / f"discovered_{name}" / "mcp.py").write_text(
            f"from mcp_transport import tool\n\n\n@tool\ndef {name}() -> str:\n    return '{name}'\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    before = set(sys.modules)
    names = [f"discovered_{name}" for name in ("second", "silent", "first")]
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *names]
    try:
        apps.get_app_config("mcp_transport").ready()
        assert list(declarations.tools) == ["second", "first"]
    finally:
        for name in set(sys.modules) - before:
            if name.startswith("discovered_"):
                del sys.modules[name]


def test_mistake_in_an_apps_mcp_module_is_not_swallowed(tmp_path, monkeypatch, settings):
    (tmp_path / "discovered_broken").mkdir()
    (tmp_path / "discovered_broken" / "__init__.py").touch()
    (tmp_path / "discovered_broken" / "mcp.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "discovered_broken"]
    sys.modules.pop("discovered_broken", None)
