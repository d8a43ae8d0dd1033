"""Whatever is odd in one declaration is mended or refused where it is declared; no list falls with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import pytest
from django.conf import settings as project
from django.utils import translation
from django.utils.translation import gettext_lazy as _
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import Annotations, Icon, ToolAnnotations
from pydantic import AfterValidator, BaseModel, Field, RootModel

from mcp_transport import Context, discovery, prompt, resource, tool
from mcp_transport.exceptions import DefinitionError
from mcpsite.shop.models import Product
from tests.django.kinds import Scalar
from tests.support.calls import error_of, failure, listed, opened, result_of, text_of
from tests.support.client import send_sessionless

pytestmark = pytest.mark.usefixtures("declarations")

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
ROOT = RootModel[list[int]]


class Login(BaseModel):
    word: str = Field(description=_("Password"), title=_("Username"))


@dataclass
class Measured:
    number: float


class Weighed(BaseModel):
    number: float


class Ratio(float):
    """A number of a project's own, as numpy's float64 is."""


def plain() -> str:
    return "plain"


def templated(a: str) -> str:
    return a


def paged(a: str, page: int = 1, *, ctx: Context) -> str:
    return a


def described(a: Annotated[str, Field(description=_("Password"))] = _("Username")) -> str:
    return a


def labelled(a: Annotated[str, Field(json_schema_extra={"label": _("Password")})]) -> str:
    return a


def deprecated(a: Annotated[str, Field(deprecated=_("Password"))]) -> str:  # type: ignore[arg-type]
    return a


def nested(a: Login) -> Login:
    return a


def root() -> ROOT:
    return ROOT([1])


async def is_listed(serve: Any) -> list[dict[str, Any]]:
    """Return what every list of both eras holds; an error fails the test."""
    found: list[dict[str, Any]] = []
    endpoint = serve()
    client = await opened(endpoint)
    for method, member in LISTS.items():
        for answer in (await client.request(method, {}), await send_sessionless(endpoint, method, {})):
            assert "result" in answer.json, answer.json
            found += answer.json["result"][member]
    return found


MENDED: dict[str, Callable[[], Any]] = {
    "schema without a type": lambda: tool(input_schema={"properties": {}})(plain),
    "schema with a translation": lambda: tool(input_schema={"title": _("Password")})(plain),
    "root of a list": lambda: tool(root),
    "description of a field": lambda: tool(described),
    "extra of a field": lambda: tool(labelled),
    "deprecated field": lambda: tool(deprecated),
    "description of a member": lambda: tool(nested),
    "name and title": lambda: tool(name=_("Password"), title=_("Password"), description=_("Password"))(plain),
    "meta": lambda: tool(meta={"a": [_("Password")]})(plain),
    "icon": lambda: tool(icons=[Icon(src="a.png")])(plain),
    "description of a prompt's argument": lambda: prompt(described),
    "prompt": lambda: prompt(name=_("Password"), title=_("Password"))(plain),
    "resource": lambda: resource("a://b", name=_("Password"), meta={"a": _("Password")})(plain),
    "annotations": lambda: resource("a://b", annotations=Annotations(priority=0.5))(plain),
    "template with a query": lambda: resource("a://{a}{?page}")(paged),
    "template": lambda: resource("a://{a}", title=_("Password"), description=_("Password"))(templated),
}


@pytest.mark.parametrize("declare", MENDED.values(), ids=MENDED)
async def test_an_odd_declaration_is_listed_in_both_eras(declare: Callable[[], Any], serve: Any) -> None:
    declare()
    tool(name="right")(plain)
    found = await is_listed(serve)
    assert len(found) in (2, 4)
    assert [item["name"] for item in found].count("right") == 2


NOT_JSON = {"a": object()}
HOLDS_ITSELF: dict[str, Any] = {}
HOLDS_ITSELF["a"] = [HOLDS_ITSELF]
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "schema of an array": (lambda: tool(input_schema={"type": "array"})(plain), "inputSchema.type"),
    "schema that is a text": (lambda: tool(input_schema="a")(plain), "input_schema must be a dict"),
    "members in a list": (lambda: tool(input_schema={"properties": []})(plain), "inputSchema.properties"),
    "required text": (lambda: tool(input_schema={"required": "a"})(plain), "inputSchema.required"),
    "schema that is no JSON": (lambda: tool(input_schema=NOT_JSON)(plain), "it cannot be listed"),
    "meta that is no JSON": (lambda: tool(meta=NOT_JSON)(plain), "it cannot be listed"),
    "bytes in meta": (lambda: tool(meta={"a": b"\xff"})(plain), "it cannot be listed"),
    "title that is a number": (lambda: tool(title=3)(plain), "title: Input should be a valid string"),
    "half a character": (lambda: tool(description="\udcff")(plain), "it cannot be listed"),
    "icon that is a text": (lambda: tool(icons=["a.png"])(plain), "icons.0: Input"),
    "hint that is a text": (lambda: tool(read_only="perhaps")(plain), "read_only_hint: Input"),
    "name with a blank": (lambda: tool(name="a b")(plain), "the tool's name 'a b' must have"),
    "name with a line break": (lambda: tool(name="a\n")(plain), "must have 1 to 128 letters of ASCII"),
    "name with an umlaut": (lambda: tool(name="ä")(plain), "must have 1 to 128 letters of ASCII"),
    "long name": (lambda: tool(name="a" * 129)(plain), "must have 1 to 128 letters of ASCII"),
    "title of a prompt": (lambda: prompt(title=3)(plain), "title: Input"),
    "name of a prompt": (lambda: prompt(name="\udcff")(plain), "it cannot be listed"),
    "meta of a resource": (lambda: resource("a://b", meta=NOT_JSON)(plain), "it cannot be listed"),
    "type of a resource": (lambda: resource("a://b", mime_type=3)(plain), "mime_type: Input"),
    "option of a resource": (lambda: resource("a://b", size=3)(plain), "@resource has no option 'size'; it has name"),
    "hints in one": (
        lambda: tool(annotations=ToolAnnotations())(plain),
        "'annotations'; write its hints, as in read_only",
    ),
    "hint in other letters": (lambda: tool(readOnlyHint=True)(plain), "no option 'readOnlyHint'; write read_only"),
    "option of the SDK": (lambda: tool(context_kwarg="a")(plain), "@tool has no option 'context_kwarg'; it has name"),
    "option of a prompt": (lambda: prompt(readonly=True)(plain), "@prompt has no option 'readonly'; it has name"),
    "name of a tool that is a number": (lambda: tool(name=5)(plain), "plain: name must be a text, got 5"),
    "name of a prompt that is a number": (lambda: prompt(name=5)(plain), "plain: name must be a text, got 5"),
    "name of a resource that is a number": (lambda: resource("a://b", name=5)(plain), "plain: name must be a text"),
    "permission that is a number": (lambda: tool(permission=5)(plain), "permission must be a list of texts, got 5"),
    "scopes that are a number": (lambda: prompt(scopes=5)(plain), "scopes must be a list of texts, got 5"),
    "meta that holds itself": (lambda: tool(meta=HOLDS_ITSELF)(plain), "plain: an option or a schema holds itself"),
    "schema that holds itself": (lambda: tool(input_schema=HOLDS_ITSELF)(plain), "plain: an option or a schema"),
    "resource that holds itself": (lambda: resource("a://b", meta=HOLDS_ITSELF)(plain), "plain: an option or a"),
    "meta of a template": (lambda: resource("a://{a}", meta=NOT_JSON)(templated), "it cannot be listed"),
    "no URI": (lambda: resource("")(plain), "is no absolute URI. Begin with a scheme, as in shop://products"),
    "relative URI": (lambda: resource("a/b")(plain), "is no absolute URI"),
    "relative template": (lambda: resource("{a}")(templated), "is no absolute URI"),
    "half a character in a URI": (lambda: resource("a://\udcff")(plain), "no URI that clients can send"),
    "open brace": (lambda: resource("a://{a")(templated), "Unclosed expression"),
    "no variable": (lambda: resource("a://{}")(plain), "Empty expression"),
    "list of variables": (lambda: resource("a://{a*}")(templated), "Explode modifier"),
    "variable too many": (
        lambda: resource("a://{a}/{b}")(templated),
        "the variable 'b' of 'a://{a}/{b}' is no parameter",
    ),
    "parameter too many": (
        lambda: resource("a://{a}")(paged),
        "the parameter 'page' is no variable of 'a://{a}'. Add {",
    ),
    "variable too few": (lambda: resource("a://b")(templated), "has no URI template variables"),
    "query without a default": (lambda: resource("a://b{?a}")(templated), "have no default value"),
}


@pytest.mark.parametrize(("declare", "words"), REFUSED.values(), ids=REFUSED)
def test_what_would_take_a_list_down_is_refused(declare: Callable[[], Any], words: str, declarations: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        declare()
    assert words in str(refused.value)
    assert not (declarations.tools or declarations.prompts or declarations.resources)


# -- URIs ------------------------------------------------------------------------------------------------


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
    declared: str, sent: str, serve: Any
) -> None:
    resource(declared)(plain)
    [entry] = (await result_of(serve(), "resources/list"))["resources"]
    assert entry["uri"] == sent
    for answer in (
        await send_sessionless(serve(), "resources/read", {"uri": sent}),
        await (await opened(serve())).request("resources/read", {"uri": sent}),
    ):
        [content] = answer.json["result"]["contents"]
        assert (content["uri"], content["text"]) == (sent, "plain")
    with pytest.raises(DefinitionError, match="declared twice"):
        resource(sent)(plain)


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
    declared: str, listed_as: str, uri: str, value: str, serve: Any
) -> None:
    resource(declared)(templated)
    assert (await listed(serve(), "resources/templates", "templated"))["uriTemplate"] == listed_as
    [content] = (await result_of(serve(), "resources/read", {"uri": uri}))["contents"]
    assert (content["uri"], content["text"]) == (uri, value)


async def test_lists_of_segments_and_queries_are_variables(serve: Any) -> None:
    @resource("shop://tree{/path*}{?depth}")
    def tree(path: list[str], depth: int = 1) -> str:
        return f"{path} {depth}"

    for uri, text in (("shop://tree/a/b?depth=3", "['a', 'b'] 3"), ("shop://tree/a", "['a'] 1")):
        [content] = (await result_of(serve(), "resources/read", {"uri": uri}))["contents"]
        assert content["text"] == text


async def test_a_static_resource_goes_before_a_template_and_the_first_template_before_others(serve: Any) -> None:
    resource("shop://{a}", name="first")(lambda a: f"first {a}")
    resource("shop://{b}", name="second")(lambda b: f"second {b}")
    resource("shop://a")(plain)
    for uri, text in (("shop://a", "plain"), ("shop://b", "first b")):
        [content] = (await result_of(serve(), "resources/read", {"uri": uri}))["contents"]
        assert content["text"] == text
    assert (await error_of(serve(), "resources/read", {"uri": "shop://b/c"}))["code"] == -32602


# -- texts in a language ----------------------------------------------------------------------------------


async def test_messages_besides_the_result_may_hold_translations(serve: Any) -> None:
    @tool
    async def says(ctx: Context) -> str:
        await ctx.info({"a": [_("Password")]})
        await ctx.report_progress(1, 2, _("Password"))
        await ctx.elicit(_("Password"), Login)
        return "said"

    client = await opened(serve())
    await client.request("logging/setLevel", {"level": "debug"})
    params = {"name": "says", "arguments": {}, "_meta": {"progressToken": 1}}
    answer = await client.request("tools/call", params)
    log, progress, question = [await answer.message() for number in range(3)]
    assert log["params"]["data"] == {"a": ["Password"]}
    assert progress["params"]["message"] == "Password"
    asked = question["params"]
    assert (asked["message"], asked["requestedSchema"]["properties"]["word"]["title"]) == ("Password", "Username")
    answer.close()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_a_number_that_json_has_not_is_a_tool_error_that_says_so(number: float, serve: Any) -> None:
    @tool
    async def told(ctx: Context) -> str:
        await ctx.report_progress(number)
        return "told"

    tool(name="alone")(lambda: number)
    tool(name="within")(lambda: {"a": [Measured(number)]})
    client = await opened(serve())
    for name in ("alone", "within", "told"):
        said = text_of(await client.call(name))
        assert said == f"Error executing tool {name}: a result holds {number}, which is no number in JSON"


NUMBERS = {
    "subclass of float": (float, Ratio("nan"), "nan"),
    "text": (float, "nan", "nan"),
    "texts": (list[float], ["1", "-Infinity"], "-inf"),
    "text or None": (float | None, "Infinity", "inf"),
    "within a dataclass": (Measured, Measured("nan"), "nan"),  # type: ignore[arg-type]
    "within a model": (list[Weighed], [Weighed(number="inf")], "inf"),  # type: ignore[arg-type]
    "number of an array": (float, Scalar(float("inf")), "inf"),
    "Decimal": (Decimal, Decimal("NaN"), "NaN"),
    "signalling Decimal": (dict, {"a": Decimal("sNaN")}, "sNaN"),
}


@pytest.mark.parametrize(("kind", "value", "written"), NUMBERS.values(), ids=NUMBERS)
async def test_a_number_that_json_has_not_is_none_in_any_form(
    kind: Any, value: Any, written: str, serve: Any
) -> None:
    def made() -> Any:
        return value

    made.__annotations__["return"] = kind
    tool(made)
    text = f"Error executing tool made: a result holds {written}, which is no number in JSON"
    assert await failure(serve(), "made") == text
    assert text_of(await (await opened(serve())).call("made")) == text


@pytest.mark.parametrize(("kind", "value"), [(int, 10**5000), (dict, {"a": [-(10**5000)]})], ids=["alone", "within"])
async def test_a_number_that_python_does_not_write_is_a_tool_error(kind: Any, value: Any, serve: Any) -> None:
    def made() -> Any:
        return value

    made.__annotations__["return"] = kind
    tool(made)
    assert "a number of more than 4300 digits, which cannot be written" in await failure(serve(), "made")


def refuse(number: int) -> int:
    raise ToolError(f"no order has the number {number}")


async def test_a_tool_error_of_a_validator_keeps_its_text(serve: Any) -> None:
    @tool
    def made(number: Annotated[int, AfterValidator(refuse)]) -> int:
        return number

    assert "no order has the number 3" in await failure(serve(), "made", {"number": 3})


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_data_of_an_error_are_written_as_a_result(is_async: bool, serve: Any) -> None:
    def made() -> str:
        raise MCPError(-32001, "gone", {_("Password"): [_("Username"), Product(id=1, sku="mug", price="7.50")]})

    async def made_later() -> str:
        return made()

    tool(name="made")(made_later if is_async else made)
    error = await error_of(serve(), "tools/call", {"name": "made", "arguments": {}})
    assert error["data"]["Password"][0] == "Username" and error["data"]["Password"][1]["sku"] == "mug"


async def test_keys_of_meta_may_be_translations(serve: Any) -> None:
    tool(meta={_("Password"): {_("Username"): 1}})(plain)
    assert (await listed(serve(), "tools", "plain"))["_meta"] == {"Password": {"Username": 1}}


async def test_declarations_have_the_language_of_the_project_and_results_that_of_the_request(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def declare() -> None:
        tool(name="made", title=_("Password"))(lambda: _("Password"))

    monkeypatch.setattr(discovery, "_waiting", [declare])
    monkeypatch.setattr(discovery, "_discovered", set())
    monkeypatch.setattr(discovery, "autodiscover_modules", lambda name: None)
    with translation.override("de"):
        discovery.discover()
        assert translation.get_language() == "de" != project.LANGUAGE_CODE
    assert (await listed(serve(), "tools", "made"))["title"] == "Password"
    with translation.override("de"):
        assert text_of(await send_sessionless(serve(), "tools/call", {"name": "made", "arguments": {}})) == "Passwort"
