"""What is accepted at declaration works in both eras; what does not is refused there with what to write.

The table is in `annotations`. Each row is compared with the SDK's own server, which has the same function.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy as _
from jsonschema import Draft202012Validator
from mcp.server.mcpserver import MCPServer
from pydantic import Field

from mcp_transport import prompt, resource, tool
from mcp_transport.exceptions import DefinitionError
from mcpsite.shop.models import Product
from tests.django.annotations import (
    ADVICE,
    GENERATORS,
    NEVER_RETURNED,
    NO_TYPES,
    RESPONSES,
    RETURNED,
    TAKEN,
    WRONGLY_BUILT,
    Row,
)
from tests.support.calls import listed, opened, result_of, returned
from tests.support.client import send_sessionless

pytestmark = pytest.mark.usefixtures("declarations")

ERAS = ("2025-11-25", "2026-07-28")


def returning(kind: Any, value: Any, is_async: bool = False) -> Any:
    def made() -> Any:
        return value

    async def made_later() -> Any:
        return value

    function = made_later if is_async else made
    function.__annotations__ = {"return": kind}
    return function


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def rows(request: pytest.FixtureRequest, declarations: Any) -> dict[str, str]:
    """Declare each row; return the names of their tools."""
    named = {name: f"row_{number}" for number, name in enumerate(RETURNED)}
    for name, row in RETURNED.items():
        tool(name=named[name], description=name)(returning(row.kind, row.value, request.param))
    return named


async def asking(serve: Any, era: str) -> Any:
    endpoint = serve()
    if era == "2025-11-25":
        return (await opened(endpoint)).request

    async def alone(method: str, params: dict[str, Any]) -> Any:
        return await send_sessionless(endpoint, method, params)

    return alone


@pytest.mark.parametrize("era", ERAS)
async def test_each_return_type_is_served_as_its_published_schema_says(
    era: str, rows: dict[str, str], serve: Any
) -> None:
    ask = await asking(serve, era)
    listed = {item["description"]: item for item in (await ask("tools/list", {})).json["result"]["tools"]}
    wrong: dict[str, Any] = {}
    for name, row in RETURNED.items():
        result = (await ask("tools/call", {"name": rows[name], "arguments": {}})).json["result"]
        content = result.get("structuredContent", result)
        found = content["result"] if isinstance(content, dict) and set(content) == {"result"} else content
        fits = Draft202012Validator(listed[name]["outputSchema"]).is_valid(content)
        if found != row.sent or not fits or not isinstance(content, dict):
            wrong[name] = result
    assert wrong == {}


async def of_the_sdk(row: Row) -> tuple[Any, Any]:
    """Return the schema that the SDK publishes and the structured content it sends."""
    server: MCPServer[Any] = MCPServer("sdk")
    server.tool(name="made")(returning(row.kind, row.value))
    [listed] = await server.list_tools()
    sent: Any = await server.call_tool("made", {})
    return listed.output_schema, sent.structured_content


@pytest.mark.parametrize(("name", "row"), RETURNED.items(), ids=RETURNED)
async def test_a_return_type_is_served_as_by_the_sdk_unless_the_table_says_why_not(
    name: str, row: Row, declarations: Any
) -> None:
    tool(name="made")(returning(row.kind, row.value))
    made = declarations.tools["made"]
    value = made.fn_metadata.convert_result(await made.fn()).structured_content
    try:
        with warnings.catch_warnings(action="ignore"):
            same = await of_the_sdk(row) == (made.output_schema, value)
    except Exception:  # whatever it refuses
        same = False
    assert same is (row.differs == "")


@pytest.mark.parametrize("kind", NEVER_RETURNED.values(), ids=NEVER_RETURNED)
def test_a_return_type_without_a_form_in_json_is_refused(kind: Any, declarations: Any) -> None:
    with pytest.raises(
        DefinitionError,
        match=r"test_annotations\.py:\d+: tests\.django\.test_annotations\.returning\.<locals>\.made: the return "
        r"type .* has no JSON form. Return a pydantic model, .*, or leave the annotation out$",
    ):
        tool(returning(kind, None))
    assert not declarations.tools


@pytest.mark.parametrize("kind", GENERATORS.values(), ids=GENERATORS)
def test_a_return_type_of_asynchronous_values_is_refused(kind: Any) -> None:
    with pytest.raises(DefinitionError, match=r"made: the values of an asynchronous generator .*; return a list$"):
        tool(returning(kind, None))


@pytest.mark.parametrize("kind", RESPONSES.values(), ids=RESPONSES)
def test_a_return_type_that_is_a_response_is_refused(kind: Any) -> None:
    with pytest.raises(DefinitionError, match=r"made: return the data, not a response$"):
        tool(returning(kind, None))


@pytest.mark.parametrize(("kind", "words"), NO_TYPES.values(), ids=NO_TYPES)
def test_a_value_in_place_of_a_return_type_is_refused(kind: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=rf"test_annotations\.py:\d+: .*made: the return type is .*{words}$"):
        tool(returning(kind, None))


@pytest.mark.parametrize(("kind", "reason"), WRONGLY_BUILT.values(), ids=WRONGLY_BUILT)
def test_a_return_type_that_cannot_be_built_is_refused(kind: Any, reason: str) -> None:
    words = rf"test_annotations\.py:\d+: .*made: the return type .* cannot be built: {reason}$"
    with pytest.raises(DefinitionError, match=words):
        tool(returning(kind, None))


# -- parameters ------------------------------------------------------------------------------------------


def taking(kind: Any, value: Any = None) -> Any:
    def made(given: Any) -> bool:
        return given == value and type(given) is type(value)

    made.__annotations__["given"] = kind
    return made


@pytest.fixture
def takers(declarations: Any) -> None:
    """Declare a tool for each row that can be a parameter; not on the event loop, which it would keep busy."""
    for number, row in enumerate(TAKEN.values()):
        tool(name=f"row_{number}")(taking(row.kind, row.value))


@pytest.mark.usefixtures("takers")
@pytest.mark.parametrize("era", ERAS)
async def test_each_type_of_a_parameter_is_given_its_value(era: str, serve: Any) -> None:
    ask = await asking(serve, era)
    schemas = {item["name"]: item["inputSchema"] for item in (await ask("tools/list", {})).json["result"]["tools"]}
    wrong: dict[str, Any] = {}
    for number, (name, row) in enumerate(TAKEN.items()):
        made, arguments = f"row_{number}", {"given": row.sent}
        result = (await ask("tools/call", {"name": made, "arguments": arguments})).json["result"]
        if result.get("structuredContent") != {"result": True}:
            wrong[name] = result
        if not Draft202012Validator(schemas[made]).is_valid(arguments):
            wrong[name] = schemas[made]
    assert wrong == {}


@pytest.mark.parametrize("row", TAKEN.values(), ids=TAKEN)
async def test_a_parameter_is_published_as_by_the_sdk(row: Row, declarations: Any) -> None:
    function = taking(row.kind)
    tool(name="made")(function)
    server: MCPServer[Any] = MCPServer("sdk")
    server.tool(name="made")(function)
    [listed] = await server.list_tools()
    assert declarations.tools["made"].parameters == listed.input_schema


@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://{given}")], ids=["tool", "prompt", "resource"])
@pytest.mark.parametrize(("kind", "advice"), ADVICE.values(), ids=ADVICE)
def test_a_parameter_that_no_argument_can_be_is_refused(kind: Any, advice: str, declare: Any) -> None:
    words = rf"test_annotations\.py:\d+: .*made: the parameter 'given' .*{advice}$"
    with pytest.raises(DefinitionError, match=words):
        declare(taking(kind))


@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://{given}")], ids=["tool", "prompt", "resource"])
@pytest.mark.parametrize(("kind", "words"), NO_TYPES.values(), ids=NO_TYPES)
def test_a_value_in_place_of_the_type_of_a_parameter_is_refused(kind: Any, words: str, declare: Any) -> None:
    with pytest.raises(DefinitionError, match=rf"\.py:\d+: .*made: the parameter 'given' is annotated .*{words}$"):
        declare(taking(kind))


@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://{given}")], ids=["tool", "prompt", "resource"])
@pytest.mark.parametrize(("kind", "reason"), WRONGLY_BUILT.values(), ids=WRONGLY_BUILT)
def test_a_parameter_that_cannot_be_built_is_refused(kind: Any, reason: str, declare: Any) -> None:
    with pytest.raises(DefinitionError, match=rf"\.py:\d+: .*made: the parameter 'given' cannot be built: {reason}$"):
        declare(taking(kind))


@pytest.mark.parametrize("alias", [5, _("from")], ids=["number", "lazy"])
@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://{given}")], ids=["tool", "prompt", "resource"])
def test_an_alias_that_is_no_text_is_refused(alias: Any, declare: Any) -> None:
    with pytest.raises(DefinitionError, match=r"made: the alias of the parameter 'given' must be a str, got .*"):
        declare(taking(Annotated[int, Field(alias=alias)]))


@pytest.mark.parametrize("name", ["model_extra", "model_fields_set", "model_config", "model_fields"])
@pytest.mark.parametrize("default", [inspect.Parameter.empty, "a"], ids=["required", "default"])
def test_a_parameter_named_as_an_attribute_of_pydantic_is_refused(name: str, default: Any) -> None:
    def made(**given: Any) -> str: ...

    given = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=str, default=default)
    made.__signature__ = inspect.Signature([given])  # type: ignore[attr-defined]
    for declare in (tool, prompt, resource(f"shop://{{{name}}}")):
        with pytest.raises(DefinitionError, match=f"parameter '{name}' has the name of an attribute of pydantic's; "):
            declare(made)


DEFAULTS: dict[str, Callable[[], Any]] = {
    "queryset": Product.objects.all,
    "manager": lambda: Product.objects,
    "queryset of Field": lambda: Field(Product.objects.all()),
    "lazy object": lambda: SimpleLazyObject(Product.objects.get),
}


@pytest.mark.parametrize("default", DEFAULTS.values(), ids=DEFAULTS)
def test_a_default_that_is_read_is_refused_before_it_is(default: Callable[[], Any]) -> None:
    def made(given: Any) -> str: ...
    def annotated(given: Annotated[Any, Field(default=Product.objects.all())]) -> str: ...

    made.__defaults__ = (default(),)
    for declare in (tool, prompt, resource("shop://a{?given}")):
        for function in (made, annotated):
            with pytest.raises(DefinitionError, match=r"the default of the parameter 'given' is .* Write None, and "):
                declare(function)


def test_parameters_that_cannot_be_passed_are_refused() -> None:
    def hidden(_a: int) -> str: ...
    def two(a: Annotated[int, Field(alias="b")], b: int) -> str: ...
    def method(json: Annotated[int, Field(alias="from")]) -> str: ...
    def unnamed(a: int, /, *rest: int, **more: int) -> str: ...

    for function, words in (
        (hidden, "the parameter '_a' begins with an underscore; give it another name"),
        (two, "the parameters a and b are both passed as 'b'; give one another alias"),
        (method, "the parameter 'json' cannot have an alias; give it another name"),
        (unnamed, "the parameter .a: .* cannot be passed by name, as arguments are"),
    ):
        for declare in (tool, prompt):
            with pytest.raises(DefinitionError, match=f": .*{function.__name__}: {words}$"):
                declare(function)


def test_a_template_names_its_variables_as_its_parameters() -> None:
    def made(origin: Annotated[str, Field(alias="from")]) -> str: ...

    with pytest.raises(DefinitionError, match="'origin' cannot have the alias 'from': a URI has the"):
        resource("shop://{origin}")(made)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_an_argument_is_passed_by_its_alias(is_async: bool, serve: Any) -> None:
    def made(
        origin: Annotated[str, Field(alias="from")], to: str = Field("a", alias="to-place"), *, copy: int = 1
    ) -> str:
        return f"{origin} {to} {copy}"

    async def made_later(
        origin: Annotated[str, Field(alias="from")], to: str = Field("a", alias="to-place"), *, copy: int = 1
    ) -> str:
        return made(origin, to, copy=copy)

    function = made_later if is_async else made
    tool(name="made")(function)
    prompt(name="made")(function)
    given = {"from": "x", "copy": "2"}
    assert await returned(serve(), "made", given) == "x a 2"
    assert await returned(serve(), "made", {"from": "x", "to-place": "b"}) == "x b 1"
    for arguments, text in ((given, "x a 2"), ({"from": "x", "to-place": "b"}, "x b 1")):
        found = await result_of(serve(), "prompts/get", {"name": "made", "arguments": arguments})
        assert found["messages"][0]["content"]["text"] == text


async def test_a_default_may_be_made_and_may_stand_before_others(serve: Any) -> None:
    many, word = Field(default_factory=lambda: [1]), Field(description=_("Password"))

    @tool
    def made(many: list[int] = many, word: str = word) -> str:
        return f"{many} {word}"

    schema = (await listed(serve(), "tools", "made"))["inputSchema"]
    assert (schema["required"], schema["properties"]["word"]["description"]) == (["word"], "Password")
    assert await returned(serve(), "made", {"word": "a"}) == "[1] a"


async def test_a_default_of_a_field_that_is_a_translation_is_a_text(serve: Any) -> None:
    word = Field(_("Password"))

    @tool
    def made(word: str = word) -> str:
        return type(word).__name__

    assert await returned(serve(), "made") == "str"
