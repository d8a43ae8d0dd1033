"""What may be declared: every form of callable, by its own name, once."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.decorators import login_required, permission_required
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from mcp_transport import Context, completion, prompt, resource, tool
from mcp_transport.declarations import Declarations
from mcp_transport.exceptions import DefinitionError
from mcpsite.shop.models import Product
from tests.support.calls import call, listed, result_of, returned
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

DECLARE: dict[str, Any] = {
    "tool": tool(name="a"),
    "prompt": prompt(name="a"),
    "resource": resource("shop://a"),
    "template": resource("shop://{sku}"),
    "completion": completion,
}


def declaring(*kinds: str) -> pytest.MarkDecorator:
    """Return the mark that runs a test for each of some kinds of declaration."""
    return pytest.mark.parametrize("declare", [DECLARE[kind] for kind in kinds], ids=kinds)


def wrapping(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def price(sku: str, ctx: Context, factor: int = 1) -> str:
    """Say what it costs."""
    return f"{sku} {factor * 7} {type(ctx).__name__}"


def price_now(sku: str, ctx: Context, factor: int = 1) -> str:
    """Say what it costs."""
    return f"{sku} {factor * 7} {type(ctx).__name__}"


class Pricing:
    """Say what it costs."""

    async def price(self, sku: str, ctx: Context, factor: int = 1) -> str:
        """Say what it costs."""
        return await price(sku, ctx, factor)

    __call__ = price

    def price_now(self, sku: str, ctx: Context, factor: int = 1) -> str:
        """Say what it costs."""
        return price_now(sku, ctx, factor)

    @classmethod
    async def price_of_class(cls, sku: str, ctx: Context, factor: int = 1) -> str:
        """Say what it costs."""
        return await price(sku, ctx, factor)

    @staticmethod
    async def static_price(sku: str, ctx: Context, factor: int = 1) -> str:
        """Say what it costs."""
        return await price(sku, ctx, factor)


class PricingNow:
    def __call__(self, sku: str, ctx: Context, factor: int = 1) -> str:
        """Say what it costs."""
        return price_now(sku, ctx, factor)


CALLABLES: dict[str, tuple[Any, str]] = {
    "function": (price_now, "price_now"),
    "coroutine function": (price, "price"),
    "plain wrapper of a coroutine function": (wrapping(price), "price"),
    "wrapper of a wrapper": (wrapping(wrapping(price)), "price"),
    "bound method": (Pricing().price_now, "price_now"),
    "bound coroutine method": (Pricing().price, "price"),
    "class method": (Pricing.price_of_class, "price_of_class"),
    "static method": (Pricing.static_price, "static_price"),
    "static method object": (vars(Pricing)["static_price"], "static_price"),
    "object": (PricingNow(), "PricingNow"),
    "object with a coroutine": (Pricing(), "Pricing"),
    "partial": (functools.partial(price_now, factor=1), "price_now"),
    "partial of a coroutine function": (functools.partial(price, factor=1), "price"),
    "partial of a partial": (functools.partial(functools.partial(price)), "price"),
    "partial of an object": (functools.partial(Pricing(), factor=1), "Pricing"),
    "partial of a method": (functools.partial(Pricing().price), "price"),
    "sync_to_async": (sync_to_async(price_now), "price_now"),
    "async_to_sync": (async_to_sync(price), "price"),
}


@pytest.mark.parametrize(("function", "name"), CALLABLES.values(), ids=CALLABLES)
async def test_callable_is_served_by_its_own_name_as_a_tool_a_prompt_and_a_resource(
    function: Any, name: str, serve: Serve
) -> None:
    tool(function)
    prompt(function)
    resource("shop://{sku}")(functools.partial(function, factor=1))
    described = await listed(serve(), "tools", name)
    assert described["description"] == "Say what it costs."
    assert described["inputSchema"]["properties"]["sku"]["type"] == "string"
    assert "ctx" not in described["inputSchema"]["properties"]
    assert (await listed(serve(), "resources/templates", name))["description"] == "Say what it costs."
    assert await returned(serve(), name, {"sku": "mug"}) == "mug 7 Context"
    got = await result_of(serve(), "prompts/get", {"name": name, "arguments": {"sku": "mug"}})
    assert got["messages"][0]["content"]["text"] == "mug 7 Context"
    read = await result_of(serve(), "resources/read", {"uri": "shop://mug"})
    assert read["contents"][0]["text"] == "mug 7 Context"


async def test_cached_function_is_served(serve: Serve) -> None:
    @tool
    @functools.cache
    def double(number: int) -> int:
        return number * 2

    assert await returned(serve(), "double", {"number": 2}) == 4


async def test_client_cannot_replace_what_a_partial_has_bound(serve: Serve) -> None:
    def greet(name: str, who: str) -> str:
        return f"{who} greets {name}"

    tool(functools.partial(greet, who="staff"))
    assert list((await listed(serve(), "tools", "greet"))["inputSchema"]["properties"]) == ["name"]
    assert await returned(serve(), "greet", {"name": "Ann", "who": "a stranger"}) == "staff greets Ann"


async def test_wrapper_of_a_coroutine_function_returns_and_fails_as_its_function(
    transactional_db: None, serve: Serve
) -> None:
    async def products() -> list[Product]:
        return Product.objects.all()  # type: ignore[return-value]

    async def broken() -> str:
        raise RuntimeError("inside")

    await Product.objects.acreate(sku="mug", name="Mug", price="7.50", stock=3)
    tool(wrapping(products))
    tool(wrapping(broken))
    assert (await returned(serve(), "products"))[0]["sku"] == "mug"
    assert (await call(serve(), "broken"))["isError"]


async def test_static_method_is_declared_in_a_class_body(serve: Serve) -> None:
    class Shop:
        @staticmethod
        @tool
        def inner(sku: str) -> str:
            return sku

        @tool
        @staticmethod
        def outer(sku: str) -> str:
            return sku

    for name in ("inner", "outer"):
        assert await returned(serve(), name, {"sku": "mug"}) == "mug"


# -- what is refused ---------------------------------------------------------------------------------


@declaring("tool", "prompt", "template", "completion")
def test_method_in_a_class_body_is_refused_where_it_is_declared(
    declare: Callable[[Any], Any], declarations: Declarations
) -> None:
    with pytest.raises(
        DefinitionError, match=r"test_callables\..*Shop\.search: a method cannot be declared in the body"
    ):

        class Shop:
            @declare
            def search(self, sku: str) -> Any: ...

    with pytest.raises(DefinitionError, match="Declare the bound method afterwards"):

        class Other:
            @declare
            @classmethod
            def search(cls, sku: str) -> Any: ...

    with pytest.raises(DefinitionError, match="Declare the bound method afterwards"):
        declare(Pricing.price)
    assert not (declarations.tools or declarations.prompts or declarations.resources or declarations.completion)


def wrapping_itself() -> Any:
    def looped() -> None: ...

    looped.__wrapped__ = looped  # type: ignore[attr-defined]
    return looped


def signed_wrongly() -> Any:
    def signed() -> None: ...

    signed.__signature__ = 5  # type: ignore[attr-defined]
    return signed


# Before Python 3.13 inspect knows no signature of these.
UNSIGNED = r"(callable .* is not supported|the parameter 'obj' cannot be passed by name)"
NO_FUNCTION = "expected a function to declare, got"
ODD: dict[str, tuple[Any, str]] = {
    "number": (3, f"{NO_FUNCTION} 3"),
    "text": ("text", NO_FUNCTION),
    "class": (Pricing, NO_FUNCTION),
    "property": (property(lambda self: 1), NO_FUNCTION),
    "partial of a class": (functools.partial(Product), NO_FUNCTION),
    "partial of a builtin class": (functools.partial(dict, a=1), NO_FUNCTION),
    "itemgetter": (operator.itemgetter("a"), rf"^operator\.itemgetter\.__call__: {UNSIGNED}"),
    "attrgetter": (operator.attrgetter("a"), rf"^operator\.attrgetter\.__call__: {UNSIGNED}"),
    "methodcaller": (operator.methodcaller("a"), rf"^operator\.methodcaller\.__call__: {UNSIGNED}"),
    "partial of one": (functools.partial(operator.itemgetter("a")), rf"^operator\.itemgetter\.__call__: {UNSIGNED}"),
    "method of a builtin": (str.upper, r"^builtins\.str\.upper: the parameter 'self' cannot be passed by name"),
    "bound method of a builtin": ({}.get, r"^builtins\.dict\.get: the parameter 'key' cannot be passed by name"),
    "wrapper of itself": (wrapping_itself(), r"test_callables\.py:\d+: .*looped: wrapper loop"),
    "wrong signature": (signed_wrongly(), r"test_callables\.py:\d+: .*signed: unexpected object 5 in __signature__"),
}


@pytest.mark.parametrize(("function", "expected"), ODD.values(), ids=ODD)
@declaring("tool", "prompt", "resource", "completion")
def test_what_is_no_function_or_cannot_be_served_is_refused_by_its_name(
    function: Any, expected: str, declare: Any
) -> None:
    with pytest.raises(DefinitionError, match=expected):
        declare(function)


@pytest.mark.parametrize(
    "decorate", [login_required, permission_required("shop.view_order"), csrf_exempt, require_POST]
)
@declaring("tool", "prompt", "template")
def test_a_decorator_of_views_is_refused(decorate: Any, declare: Any) -> None:
    def search(sku: str) -> Any: ...

    async def search_later(sku: str) -> Any: ...

    for function in (search, search_later):
        with pytest.raises(DefinitionError, match=r"requires the argument 'request', .*, and use permission=, "):
            declare(decorate(function))


@declaring("tool", "prompt", "resource", "completion")
def test_name_that_is_taken_names_both_places(declare: Any) -> None:
    async def first() -> Any: ...
    async def second() -> Any: ...
    async def completes(ref: Any, argument: Any, context: Any) -> None: ...
    async def again(ref: Any, argument: Any, context: Any) -> None: ...

    one, other = (completes, again) if declare is completion else (first, second)
    declare(one)
    place = r"tests\.django\.test_callables\.\S*"
    for function in (other, one):
        expected = rf"declared (twice|already), by {place}{one.__name__},? and (again )?by {place}{function.__name__}"
        with pytest.raises(DefinitionError, match=expected):
            declare(function)
