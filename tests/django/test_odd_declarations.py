"""Whatever is odd in one declaration is mended or refused where it is declared; no list falls with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from django.utils.translation import gettext_lazy as _
from mcp_types import Annotations, Icon, ToolAnnotations
from pydantic import BaseModel, Field, RootModel

import mcp_transport
from mcp_transport import Context
from mcp_transport.declarations import Declarations
from mcp_transport.exceptions import DefinitionError
from tests.django.declared import ERAS, response
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

# Much of what is odd is refused by the types of the decorators, too.
tool: Any = mcp_transport.tool
prompt: Any = mcp_transport.prompt
resource: Any = mcp_transport.resource
PASSWORD: Any = _("Password")

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
ROOT = RootModel[list[int]]


class Login(BaseModel):
    word: str = Field(description=PASSWORD, title=PASSWORD)


def plain() -> str:
    return "plain"


def templated(a: str) -> str:
    return a


def paged(a: str, page: int = 1, *, ctx: Context) -> str:
    return a


def described(a: Annotated[str, Field(description=PASSWORD)] = PASSWORD) -> str:
    return a


def labelled(a: Annotated[str, Field(json_schema_extra={"label": PASSWORD})]) -> str:
    return a


def deprecated(a: Annotated[str, Field(deprecated=PASSWORD)]) -> str:
    return a


def nested(a: Login) -> Login:
    return a


def root() -> ROOT:
    return ROOT([1])


MENDED: dict[str, Callable[[], Any]] = {
    "schema without a type": lambda: tool(input_schema={"properties": {}})(plain),
    "schema with a translation": lambda: tool(input_schema={"title": PASSWORD})(plain),
    "root of a list": lambda: tool(root),
    "description of a field": lambda: tool(described),
    "extra of a field": lambda: tool(labelled),
    "deprecated field": lambda: tool(deprecated),
    "description of a member": lambda: tool(nested),
    "name and title": lambda: tool(name=PASSWORD, title=PASSWORD, description=PASSWORD)(plain),
    "meta": lambda: tool(meta={"a": [PASSWORD]})(plain),
    "icon": lambda: tool(icons=[Icon(src="a.png")])(plain),
    "description of a prompt's argument": lambda: prompt(described),
    "prompt": lambda: prompt(name=PASSWORD, title=PASSWORD)(plain),
    "resource": lambda: resource("a://b", name=PASSWORD, meta={"a": PASSWORD})(plain),
    "annotations": lambda: resource("a://b", annotations=Annotations(priority=0.5))(plain),
    "template with a query": lambda: resource("a://{a}{?page}")(paged),
    "template": lambda: resource("a://{a}", title=PASSWORD, description=PASSWORD)(templated),
}


@pytest.mark.parametrize("declare", MENDED.values(), ids=MENDED)
async def test_an_odd_declaration_is_listed_in_both_eras(declare: Callable[[], Any], serve: Serve) -> None:
    declare()
    tool(name="right")(plain)
    endpoint = serve()
    for era in ERAS:
        answers = {method: await response(endpoint, era, method, {}) for method in LISTS}
        result = [item["name"] for method, member in LISTS.items() for item in answers[method]["result"][member]]
        assert len(result) in (1, 2) and result.count("right") == 1


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
    "name with a blank": (lambda: tool(name="a b")(plain), "the tool name 'a b' must have"),
    "name with a line break": (lambda: tool(name="a\n")(plain), "must have 1 to 128 ASCII letters"),
    "name with an umlaut": (lambda: tool(name="ä")(plain), "must have 1 to 128 ASCII letters"),
    "long name": (lambda: tool(name="a" * 129)(plain), "must have 1 to 128 ASCII letters"),
    "title of a prompt": (lambda: prompt(title=3)(plain), "title: Input"),
    "name of a prompt": (lambda: prompt(name="\udcff")(plain), "it cannot be listed"),
    "meta of a resource": (lambda: resource("a://b", meta=NOT_JSON)(plain), "it cannot be listed"),
    "type of a resource": (lambda: resource("a://b", mime_type=3)(plain), "mime_type: Input"),
    "option of a resource": (
        lambda: resource("a://b", size=3)(plain),
        "@resource has no option 'size'; valid options are name",
    ),
    "hints in one": (
        lambda: tool(annotations=ToolAnnotations())(plain),
        "'annotations'; use its hints, as in read_only",
    ),
    "hint in other letters": (
        lambda: tool(readOnlyHint=True)(plain),
        "no option 'readOnlyHint'; did you mean 'read_only'",
    ),
    "option of the SDK": (
        lambda: tool(context_kwarg="a")(plain),
        "@tool has no option 'context_kwarg'; valid options are name",
    ),
    "option of a prompt": (
        lambda: prompt(readonly=True)(plain),
        "@prompt has no option 'readonly'; valid options are name",
    ),
    "name of a tool that is a number": (lambda: tool(name=5)(plain), "plain: name must be a string, got 5"),
    "name of a prompt that is a number": (lambda: prompt(name=5)(plain), "plain: name must be a string, got 5"),
    "name of a resource that is a number": (lambda: resource("a://b", name=5)(plain), "plain: name must be a string"),
    "permission that is a number": (lambda: tool(permission=5)(plain), "permission must be a list of strings, got 5"),
    "scopes that are a number": (lambda: prompt(scopes=5)(plain), "scopes must be a list of strings, got 5"),
    "meta that holds itself": (
        lambda: tool(meta=HOLDS_ITSELF)(plain),
        "plain: an option or a schema contains itself",
    ),
    "schema that holds itself": (lambda: tool(input_schema=HOLDS_ITSELF)(plain), "plain: an option or a schema"),
    "resource that holds itself": (lambda: resource("a://b", meta=HOLDS_ITSELF)(plain), "plain: an option or a"),
    "meta of a template": (lambda: resource("a://{a}", meta=NOT_JSON)(templated), "it cannot be listed"),
    "no URI": (lambda: resource("")(plain), "is not an absolute URI. Start with a scheme, as in shop://products"),
    "relative URI": (lambda: resource("a/b")(plain), "is not an absolute URI"),
    "relative template": (lambda: resource("{a}")(templated), "is not an absolute URI"),
    "half a character in a URI": (lambda: resource("a://\udcff")(plain), "not a URI that clients can send"),
    "open brace": (lambda: resource("a://{a")(templated), "Unclosed expression"),
    "no variable": (lambda: resource("a://{}")(plain), "Empty expression"),
    "list of variables": (lambda: resource("a://{a*}")(templated), "Explode modifier"),
    "variable too many": (
        lambda: resource("a://{a}/{b}")(templated),
        "the variable 'b' of 'a://{a}/{b}' is not a parameter",
    ),
    "parameter too many": (
        lambda: resource("a://{a}")(paged),
        "the parameter 'page' is not a variable of 'a://{a}'. Add {",
    ),
    "variable too few": (lambda: resource("a://b")(templated), "has no URI template variables"),
    "query without a default": (lambda: resource("a://b{?a}")(templated), "have no default value"),
}


@pytest.mark.parametrize(("declare", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_would_take_a_list_down_is_refused(
    declare: Callable[[], Any], expected: str, declarations: Declarations
) -> None:
    with pytest.raises(DefinitionError) as refused:
        declare()
    assert expected in str(refused.value)
    assert not (declarations.tools or declarations.prompts or declarations.resources)
