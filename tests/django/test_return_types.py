"""What is said of results besides their types, which are in `test_annotations`."""

import decimal
import json
from typing import Annotated, Any

import pytest
from django.utils.functional import lazystr
from django.utils.translation import gettext_lazy as _
from pydantic import Field

from mcp_transport import completion, prompt, resource, tool
from mcp_transport.exceptions import DefinitionError
from tests.support.calls import call, listed

pytestmark = pytest.mark.usefixtures("declarations")


async def test_description_of_an_annotated_result_is_published(serve):
    @tool
    def price() -> Annotated[decimal.Decimal, Field(description="Euro.")]: ...

    schema = (await listed(serve(), "tools", "price"))["outputSchema"]
    assert schema["properties"]["result"]["description"] == "Euro."


async def test_result_without_an_annotation_may_be_a_translation(serve):
    @tool
    def answer():
        return {"a": _("Password"), "b": lazystr("b")}

    text = (await call(serve(), "answer"))["content"][0]["text"]
    assert json.loads(text) == {"a": "Password", "b": "b"}


async def test_title_and_description_may_be_translations(serve):
    texts: Any = {"title": _("Password"), "description": _("Username")}

    def made(sku: str = "") -> str: ...

    tool(**texts)(made)
    prompt(**texts)(made)
    resource("shop://{sku}", **texts)(made)
    for kind in ("tools", "prompts", "resources/templates"):
        described = await listed(serve(), kind, "made")
        assert (described["title"], described["description"]) == ("Password", "Username")


@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://a"), completion], ids=str)
@pytest.mark.parametrize("hint", [None, "AsyncIterator[int]"], ids=str)
def test_asynchronous_generator_is_refused_in_words(declare, hint):
    async def numbers():
        yield 1

    if hint:
        numbers.__annotations__["return"] = hint
    with pytest.raises(
        DefinitionError, match=r"test_return_types\..*numbers: .*generator cannot be sent; return a list"
    ):
        declare(numbers)
