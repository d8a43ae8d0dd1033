"""@resource: what is listed and read, by which URIs, and what is refused of them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ResourceNotFoundError

from mcp_transport import Context, resource
from mcp_transport.exceptions import DefinitionError
from mcpsite.shop.models import Product
from tests.django.declared import each_era, each_mode, later, response
from tests.support.calls import listed, result_of
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

MUG = Product(id=1, sku="mug", name="Mug", price="7.50", stock=3)
UNKNOWN = {"2025-11-25": -32002, "2026-07-28": -32602}
"""The code of a resource that does not exist, by era."""


async def read(serve: Serve, uri: str) -> Any:
    [content] = (await result_of(serve(), "resources/read", {"uri": uri}))["contents"]
    return content


async def test_static_resource_is_listed_and_read(serve: Serve) -> None:
    def hours() -> str:
        """When we are there."""
        return "9 to 5"

    assert resource("shop://hours", title="Opening hours")(hours) is hours
    described = await listed(serve(), "resources", "hours")
    assert described["uri"] == "shop://hours"
    assert (described["title"], described["description"]) == ("Opening hours", "When we are there.")
    assert await read(serve, "shop://hours") == {"uri": "shop://hours", "mimeType": "text/plain", "text": "9 to 5"}


async def test_options_replace_what_is_derived(serve: Serve) -> None:
    @resource("shop://hours", name="open", description="Else.", mime_type="text/markdown", meta={"example.com/a": 1})
    def hours() -> str:
        """Not this."""
        return "*9*"

    described = await listed(serve(), "resources", "open")
    assert (described["description"], described["mimeType"]) == ("Else.", "text/markdown")
    assert described["_meta"] == {"example.com/a": 1}


@each_mode
async def test_template_takes_variables_and_context(is_async: bool, serve: Serve) -> None:
    def thing(shelf: str, place: int, ctx: Context) -> str:
        """What lies there."""
        return f"{shelf} {place + 1} {ctx.headers['mcp-name']} {ctx.protocol_version}"

    resource("shop://{shelf}/{place}", mime_type="text/plain")(later(thing) if is_async else thing)
    described = await listed(serve(), "resources/templates", "thing")
    assert described["uriTemplate"] == "shop://{shelf}/{place}"
    content = await read(serve, "shop://left/4")
    assert (content["uri"], content["text"]) == ("shop://left/4", "left 5 shop://left/4 2026-07-28")


@pytest.mark.parametrize("kind", [memoryview, bytearray, bytes])
async def test_bytes_become_a_blob(kind: Any, serve: Serve) -> None:
    resource("shop://logo", name="logo", mime_type="image/png")(lambda: kind(b"\x89PNG"))
    content = await read(serve, "shop://logo")
    assert (base64.b64decode(content["blob"]), content["mimeType"]) == (b"\x89PNG", "image/png")


async def test_models_become_json(serve: Serve) -> None:
    resource("shop://products/{sku}", name="one", mime_type="application/json")(lambda sku: MUG)
    resource("shop://products", name="all", mime_type="application/json")(lambda: [MUG])
    assert json.loads((await read(serve, "shop://products/mug"))["text"])["price"] == "7.50"
    assert json.loads((await read(serve, "shop://products"))["text"])[0]["price"] == "7.50"


# -- what does not exist -----------------------------------------------------------------------------


@each_era
@each_mode
async def test_missing_resource_has_the_code_of_its_era_and_is_no_error_of_the_project(
    era: str, is_async: bool, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def order(number: int) -> str:
        if number == 8:
            raise ResourceNotFoundError("No order 8.")
        return f"order {number}"

    resource("shop://orders/{number}", name="order")(later(order) if is_async else order)
    endpoint = serve()
    result = await response(endpoint, era, "resources/read", {"uri": "shop://orders/7"})
    assert result["result"]["contents"][0]["text"] == "order 7"
    caplog.clear()
    for uri, message in (
        ("shop://orders/seven", "Unknown resource: shop://orders/seven"),
        ("shop://orders", "Unknown resource: shop://orders"),
        ("shop://orders/8", "No order 8."),
        ("other://x", "Unknown resource: other://x"),
    ):
        error = (await response(endpoint, era, "resources/read", {"uri": uri}))["error"]
        assert error["code"] == UNKNOWN[era]
        assert message in error["message"]
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


# -- URIs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        ("shop://hours", "shop://hours"),
        ("shop://café/a b", "shop://caf%C3%A9/a%20b"),
        ("shop://caf%C3%A9", "shop://caf%C3%A9"),
        ("SHOP://A", "shop://A"),
        ("HTTP://Shop.example", "http://shop.example/"),
        ("http://shop.example/a/../b?c=d#e", "http://shop.example/b?c=d#e"),
        ("urn:isbn:1", "urn:isbn:1"),
    ],
)
async def test_a_resource_is_read_by_the_uri_that_is_listed_and_that_clients_send(
    declared: str, sent: str, serve: Serve
) -> None:
    resource(declared, name="made")(lambda: "made")
    assert (await listed(serve(), "resources", "made"))["uri"] == sent
    endpoint = serve()
    for era in UNKNOWN:
        [content] = (await response(endpoint, era, "resources/read", {"uri": sent}))["result"]["contents"]
        assert (content["uri"], content["text"]) == (sent, "made")
    with pytest.raises(DefinitionError, match="declared twice"):
        resource(sent, name="again")(lambda: "again")


@pytest.mark.parametrize(
    ("declared", "listed_as", "uri", "value"),
    [
        ("shop://café/{a}", "shop://caf%C3%A9/{a}", "shop://caf%C3%A9/x", "x"),
        ("shop://a b/{a}", "shop://a%20b/{a}", "shop://a%20b/x", "x"),
        ("SHOP://{a}", "shop://{a}", "shop://x", "x"),
        ("shop://x/{a}", "shop://x/{a}", "shop://x/b%2Fc", "b/c"),
        ("shop://x/{a}", "shop://x/{a}", "shop://x/caf%C3%A9", "café"),
        ("shop://x/{+a}", "shop://x/{+a}", "shop://x/b/c", "b/c"),
        ("http://h:{a}/", "http://h:{a}/", "http://h:80/", "80"),
    ],
)
async def test_a_template_is_read_by_what_clients_make_of_it(
    declared: str, listed_as: str, uri: str, value: str, serve: Serve
) -> None:
    resource(declared, name="made")(lambda a: a)
    assert (await listed(serve(), "resources/templates", "made"))["uriTemplate"] == listed_as
    content = await read(serve, uri)
    assert (content["uri"], content["text"]) == (uri, value)


async def test_lists_of_segments_and_queries_are_variables(serve: Serve) -> None:
    @resource("shop://tree{/path*}{?depth}")
    def tree(path: list[str], depth: int = 1) -> str:
        return f"{path} {depth}"

    assert (await read(serve, "shop://tree/a/b?depth=3"))["text"] == "['a', 'b'] 3"
    assert (await read(serve, "shop://tree/a"))["text"] == "['a'] 1"


async def test_a_static_resource_goes_before_a_template_and_the_first_template_before_others(serve: Serve) -> None:
    resource("shop://{a}", name="first")(lambda a: f"first {a}")
    resource("shop://{b}", name="second")(lambda b: f"second {b}")
    resource("shop://a", name="static")(lambda: "static")
    assert [(await read(serve, uri))["text"] for uri in ("shop://a", "shop://b")] == ["static", "first b"]
    assert (await response(serve(), "2026-07-28", "resources/read", {"uri": "shop://b/c"}))["error"]["code"] == -32602


def test_a_resource_needs_a_uri_whose_variables_are_its_parameters(declarations: Any) -> None:
    def product(number: str) -> str:
        return number

    with pytest.raises(DefinitionError, match="needs a URI"):
        resource(product)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"test_resources\..*product: .*sku"):
        resource("shop://products/{sku}")(product)
    assert not declarations.resources
