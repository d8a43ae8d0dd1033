"""What a declared function takes: each type is given its value, or refused at declaration; aliases and defaults."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy as _
from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel, Field

from mcp_transport import prompt, resource, tool
from mcp_transport.declarations import Declarations
from mcp_transport.exceptions import DefinitionError
from mcpsite.shop.models import Product
from tests.django.annotations import ACCEPTED, Row
from tests.django.declared import each_era, each_mode, fits, later, response
from tests.django.refused_annotations import ADVICE, NO_TYPES, WRONGLY_BUILT
from tests.support.calls import listed, result_of, returned
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


def taking(kind: Any, value: Any = None) -> Any:
    def made(given: Any) -> bool:
        return bool(given == value and type(given) is type(value))

    made.__annotations__["given"] = kind
    return made


@pytest.fixture
def takers(declarations: Declarations) -> None:
    """Declare a tool for each row that can be a parameter; not on the event loop, which it would keep busy."""
    for number, row in enumerate(ACCEPTED.values()):
        tool(name=f"row_{number}")(taking(row.kind, row.value))


@pytest.mark.usefixtures("takers")
@each_era
async def test_each_type_of_a_parameter_is_given_its_value(era: str, serve: Serve) -> None:
    endpoint = serve()
    items = (await response(endpoint, era, "tools/list", {}))["result"]["tools"]
    schemas = {item["name"]: item["inputSchema"] for item in items}
    wrong: dict[str, Any] = {}
    for number, (name, row) in enumerate(ACCEPTED.items()):
        made, arguments = f"row_{number}", {"given": row.sent}
        answer = await response(endpoint, era, "tools/call", {"name": made, "arguments": arguments})
        if answer["result"].get("structuredContent") != {"result": True}:
            wrong[name] = answer
        if not fits(arguments, schemas[made]):
            wrong[name] = schemas[made]
    assert wrong == {}


@pytest.mark.parametrize("row", ACCEPTED.values(), ids=ACCEPTED)
async def test_a_parameter_is_published_as_by_the_sdk(row: Row, declarations: Declarations) -> None:
    function = taking(row.kind)
    tool(name="made")(function)
    server: MCPServer[Any] = MCPServer("sdk")
    server.tool(name="made")(function)
    [listed] = await server.list_tools()
    assert declarations.tools["made"].parameters == listed.input_schema


# -- what is refused ---------------------------------------------------------------------------------

ALIAS = "the alias of parameter 'given' must be a str, got .*"
LAZY_ALIAS: Any = _("from")
PASSWORD: Any = _("Password")
REFUSED: dict[str, tuple[Any, str]] = {
    **{name: (kind, f"the parameter 'given' .*{advice}") for name, (kind, advice) in ADVICE.items()},
    **{
        name: (kind, f"the parameter 'given' is annotated .*{expected}")
        for name, (kind, expected) in NO_TYPES.items()
    },
    **{
        name: (kind, f"the parameter 'given' has an invalid annotation: {reason}")
        for name, (kind, reason) in WRONGLY_BUILT.items()
    },
    "alias that is a number": (Annotated[int, Field(alias=5)], ALIAS),  # type: ignore[call-overload]
    "alias that is lazy": (Annotated[int, Field(alias=LAZY_ALIAS)], ALIAS),
}


@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://{given}")], ids=["tool", "prompt", "resource"])
@pytest.mark.parametrize(("kind", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_parameter_that_cannot_be_taken_is_refused(kind: Any, expected: str, declare: Any) -> None:
    with pytest.raises(DefinitionError, match=rf"test_parameter_types\.py:\d+: .*made: {expected}$"):
        declare(taking(kind))


@pytest.mark.parametrize("name", ["model_extra", "model_fields_set", "model_config", "model_fields"])
@pytest.mark.parametrize("default", [inspect.Parameter.empty, "a"], ids=["required", "default"])
def test_a_parameter_named_as_an_attribute_of_pydantic_is_refused(name: str, default: Any) -> None:
    def made(**given: Any) -> Any: ...

    given = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=str, default=default)
    made.__signature__ = inspect.Signature([given])  # type: ignore[attr-defined]
    for declare in (tool, prompt, resource(f"shop://{{{name}}}")):
        with pytest.raises(
            DefinitionError, match=f"parameter '{name}' clashes with an attribute of pydantic's BaseModel; "
        ):
            declare(made)


DEFAULTS: dict[str, Callable[[], Any]] = {
    "queryset": Product.objects.all,
    "manager": lambda: Product.objects,
    "queryset of Field": lambda: Field(Product.objects.all()),
    "lazy object": lambda: SimpleLazyObject(Product.objects.get),
}


@pytest.mark.parametrize("default", DEFAULTS.values(), ids=DEFAULTS)
def test_a_default_that_is_read_is_refused_before_it_is(default: Callable[[], Any]) -> None:
    def made(given: Any) -> Any: ...
    def annotated(given: Annotated[Any, Field(default=Product.objects.all())]) -> Any: ...

    made.__defaults__ = (default(),)
    for declare in (tool, prompt, resource("shop://a{?given}")):
        for function in (made, annotated):
            with pytest.raises(DefinitionError, match=r"the default of the parameter 'given' is .* Use None, and "):
                declare(function)


def test_parameters_that_cannot_be_passed_are_refused(declarations: Declarations) -> None:
    def hidden(_a: int) -> Any: ...
    def two(a: Annotated[int, Field(alias="b")], b: int) -> Any: ...
    def method(json: Annotated[int, Field(alias="from")]) -> Any: ...
    def unnamed(a: int, /, *rest: int, **more: int) -> Any: ...
    def many(*values: int) -> Any: ...
    def any_name(**values: int) -> Any: ...

    for function, expected in (
        (hidden, "the parameter '_a' must not start with an underscore; rename it"),
        (two, "the parameters a and b have the same name or alias 'b'; change one of them"),
        (method, "the parameter 'json' cannot have an alias; rename the parameter"),
        (unnamed, "the parameter .a: .* cannot be passed by name"),
        (many, "the parameter .*values.* cannot be passed by name"),
        (any_name, "the parameter .*values.* cannot be passed by name"),
    ):
        for declare in (tool, prompt):
            with pytest.raises(DefinitionError, match=f": .*{function.__name__}: {expected}$"):
                declare(function)
    assert not (declarations.tools or declarations.prompts)


@pytest.mark.parametrize("hint", ["Nowhere", "functools.nowhere", "list[", "3 + 'a'"])
def test_annotation_that_cannot_be_resolved_names_the_function(hint: str) -> None:
    def strange(a: Any) -> Any: ...

    strange.__annotations__["a"] = hint
    for declare in (tool, prompt):
        with pytest.raises(DefinitionError, match=r"test_parameter_types\..*strange: .*annotation"):
            declare(strange)


def test_a_template_names_its_variables_as_its_parameters() -> None:
    def made(origin: Annotated[str, Field(alias="from")]) -> Any: ...

    with pytest.raises(DefinitionError, match="'origin' cannot have the alias 'from': the URI uses its name"):
        resource("shop://{origin}")(made)


# -- aliases and defaults ----------------------------------------------------------------------------


@each_mode
async def test_an_argument_is_passed_by_its_alias(is_async: bool, serve: Serve) -> None:
    def made(
        origin: Annotated[str, Field(alias="from")], to: str = Field("a", alias="to-place"), *, copy: int = 1
    ) -> str:
        return f"{origin} {to} {copy}"

    function = later(made) if is_async else made
    tool(name="made")(function)
    prompt(name="made")(function)
    for arguments, text in (({"from": "x", "copy": "2"}, "x a 2"), ({"from": "x", "to-place": "b"}, "x b 1")):
        assert await returned(serve(), "made", arguments) == text
        result = await result_of(serve(), "prompts/get", {"name": "made", "arguments": arguments})
        assert result["messages"][0]["content"]["text"] == text


async def test_a_default_may_be_made_translated_and_stand_before_others(serve: Serve) -> None:
    many, word, text = Field(default_factory=lambda: [1]), Field(description=PASSWORD), Field(PASSWORD)

    @tool
    def made(many: list[int] = many, word: str = word, text: str = text) -> str:
        return f"{many} {word} {type(text).__name__}"

    schema = (await listed(serve(), "tools", "made"))["inputSchema"]
    assert (schema["required"], schema["properties"]["word"]["description"]) == (["word"], "Password")
    assert await returned(serve(), "made", {"word": "a"}) == "[1] a str"


# -- texts of clients that write JSON into texts -----------------------------------------------------


class Size(BaseModel):
    width: int


class Shade(enum.Enum):
    NONE = "[]"


Note = Annotated[str, Field(max_length=20)]
TEXTS = ('{"a": 1}', "[]", "null", "1", '["a"]', '"a"', "true", "")


@each_era
@pytest.mark.parametrize(
    "kind",
    [
        *(str, str | None, str | int, Note, Note | None, str | list[str], Size | str, Any, object, Literal[TEXTS]),
        None,
    ],
    ids=str,
)
async def test_a_text_that_is_valid_by_the_schema_is_taken_as_it_is(kind: Any, era: str, serve: Serve) -> None:
    tool(noted(kind))
    endpoint = serve()
    for text in TEXTS:
        assert await said(endpoint, era, text) == repr(text)


@each_era
@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (list[str], '["a"]', ["a"]),
        (list[str] | None, "null", None),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Size, '{"width": 1}', Size(width=1)),
        (int | None, "null", None),
        (int, "1", 1),
        (bool, "true", True),
        (date, "2026-11-29", date(2026, 11, 29)),
        (Shade, "[]", Shade.NONE),
        (Literal["1", 1], "1", "1"),
        (bytes, "[]", b"[]"),
    ],
    ids=str,
)
async def test_a_text_for_what_no_text_is_may_be_its_json(
    kind: Any, text: str, value: Any, era: str, serve: Serve
) -> None:
    tool(noted(kind))
    assert await said(serve(), era, text) == repr(value)


def noted(kind: Any) -> Any:
    """Return a function that repeats what it is given; None for no annotation."""

    def noted(note: Any) -> str:
        return repr(note)

    if kind is None:
        del noted.__annotations__["note"]
    else:
        noted.__annotations__["note"] = kind
    return noted


async def said(endpoint: Any, era: str, note: str) -> Any:
    answer = await response(endpoint, era, "tools/call", {"name": "noted", "arguments": {"note": note}})
    return answer["result"]["content"][0]["text"]
