"""What may be declared: every form of callable, by its own name, once."""

import functools
import operator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.decorators import login_required, permission_required
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from mcp_transport import Context, completion, prompt, resource, tool
from mcp_transport.exceptions import DefinitionError
from mcpsite.shop.models import Product
from tests.support.calls import call, listed, result_of, returned

pytestmark = pytest.mark.usefixtures("declarations")


def plain_wrapper(function: Any) -> Any:
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
    """Prices."""

    async def price(self, sku: str, ctx: Context, factor: int = 1) -> str:
        """Say what it costs."""
        return await price(sku, ctx, factor)

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


class CallablePrice:
    """Say what it costs."""

    async def __call__(self, sku: str, ctx: Context, factor: int = 1) -> str:
        return await price(sku, ctx, factor)


class CallablePriceNow:
    def __call__(self, sku: str, ctx: Context, factor: int = 1) -> str:
        """Say what it costs."""
        return price_now(sku, ctx, factor)


CALLABLES = {
    "function": (price_now, "price_now"),
    "coroutine function": (price, "price"),
    "plain wrapper of a coroutine function": (plain_wrapper(price), "price"),
    "wrapper of a wrapper": (plain_wrapper(plain_wrapper(price)), "price"),
    "bound method": (Pricing().price_now, "price_now"),
    "bound coroutine method": (Pricing().price, "price"),
    "class method": (Pricing.price_of_class, "price_of_class"),
    "static method": (Pricing.static_price, "static_price"),
    "static method object": (vars(Pricing)["static_price"], "static_price"),
    "object": (CallablePriceNow(), "CallablePriceNow"),
    "object with a coroutine": (CallablePrice(), "CallablePrice"),
    "partial": (functools.partial(price_now, factor=1), "price_now"),
    "partial of a coroutine function": (functools.partial(price, factor=1), "price"),
    "partial of a partial": (functools.partial(functools.partial(price)), "price"),
    "partial of an object": (functools.partial(CallablePrice(), factor=1), "CallablePrice"),
    "partial of a method": (functools.partial(Pricing().price), "price"),
    "sync_to_async": (sync_to_async(price_now), "price_now"),
    "async_to_sync": (async_to_sync(price), "price"),
}


@pytest.mark.parametrize(("function", "name"), CALLABLES.values(), ids=CALLABLES)
async def test_callable_is_served_by_its_own_name(function, name, serve):
    tool(function)
    described = await listed(serve(), "tools", name)
    assert described["description"] == "Say what it costs."
    assert described["inputSchema"]["properties"]["sku"]["type"] == "string"
    assert "ctx" not in described["inputSchema"]["properties"]
    assert await returned(serve(), name, {"sku": "mug"}) == "mug 7 Context"


@pytest.mark.parametrize(("function", "name"), CALLABLES.values(), ids=CALLABLES)
async def test_callable_is_a_prompt_a_resource_and_has_a_name_there(function, name, serve):
    prompt(function)
    found = await result_of(serve(), "prompts/get", {"name": name, "arguments": {"sku": "mug"}})
    assert found["messages"][0]["content"]["text"] == "mug 7 Context"


@pytest.mark.parametrize(("function", "name"), CALLABLES.values(), ids=CALLABLES)
async def test_callable_is_a_resource_template(function, name, serve):
    resource("shop://{sku}")(functools.partial(function, factor=1))
    assert (await listed(serve(), "resources/templates", name))["description"] == "Say what it costs."
    found = await result_of(serve(), "resources/read", {"uri": "shop://mug"})
    assert found["contents"][0]["text"] == "mug 7 Context"


async def test_cached_function_is_served(serve):
    @tool
    @functools.cache
    def double(number: int) -> int:
        return number * 2

    assert await returned(serve(), "double", {"number": 2}) == 4


async def test_client_cannot_replace_what_a_partial_has_bound(serve):
    def greet(name: str, who: str) -> str:
        return f"{who} greets {name}"

    tool(functools.partial(greet, who="staff"))
    assert list((await listed(serve(), "tools", "greet"))["inputSchema"]["properties"]) == ["name"]
    assert await returned(serve(), "greet", {"name": "Ann", "who": "a stranger"}) == "staff greets Ann"


async def test_wrapper_of_a_coroutine_function_may_return_a_queryset(transactional_db, serve):
    await Product.objects.acreate(sku="mug", name="Mug", price="7.50", stock=3)

    async def products() -> list[Product]:
        return Product.objects.all()

    tool(plain_wrapper(products))
    assert (await returned(serve(), "products"))[0]["sku"] == "mug"


async def test_wrapper_of_a_coroutine_function_fails_as_its_function_does(serve):
    async def broken() -> str:
        raise RuntimeError("inside")

    tool(plain_wrapper(broken))
    assert (await call(serve(), "broken"))["isError"]


async def test_lambda_needs_a_name(serve):
    with pytest.raises(DefinitionError, match="name"):
        tool(lambda: 1)
    tool(name="one")(lambda: 1)
    assert (await call(serve(), "one"))["content"][0]["text"] == "1"


@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://{sku}"), completion], ids=str)
def test_method_in_a_class_body_is_refused_where_it_is_declared(declare, declarations):
    with pytest.raises(DefinitionError, match=r"test_signatures\..*Shop\.search: a method has no instance"):

        class Shop:
            @declare
            def search(self, sku: str) -> str: ...

    with pytest.raises(DefinitionError, match="Declare the bound method afterwards"):

        class Other:
            @declare
            @classmethod
            def search(cls, sku: str) -> str: ...

    with pytest.raises(DefinitionError, match="Declare the bound method afterwards"):
        declare(Pricing.price)
    assert not (declarations.tools or declarations.prompts or declarations.resources or declarations.completion)


async def test_static_method_is_declared_in_a_class_body(serve):
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


@pytest.mark.parametrize(
    "thing",
    [3, "text", Pricing, property(lambda self: 1), functools.partial(Product), functools.partial(dict, a=1)],
    ids=str,
)
@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://a"), completion], ids=str)
def test_what_is_no_function_is_refused(thing, declare):
    with pytest.raises(DefinitionError, match="expected a function to declare, got"):
        declare(thing)


def wrapping_itself():
    def looped(): ...

    looped.__wrapped__ = looped
    return looped


def signed_wrongly():
    def signed(): ...

    signed.__signature__ = 5
    return signed


# Before Python 3.13 inspect knows no signature of these.
UNSIGNED = r"(callable .* is not supported|the parameter 'obj' cannot be passed by name)"
ODD = {
    "itemgetter": (operator.itemgetter("a"), rf"^operator\.itemgetter\.__call__: {UNSIGNED}"),
    "attrgetter": (operator.attrgetter("a"), rf"^operator\.attrgetter\.__call__: {UNSIGNED}"),
    "methodcaller": (operator.methodcaller("a"), rf"^operator\.methodcaller\.__call__: {UNSIGNED}"),
    "partial of one": (functools.partial(operator.itemgetter("a")), rf"^operator\.itemgetter\.__call__: {UNSIGNED}"),
    "method of a builtin": (str.upper, r"^builtins\.str\.upper: the parameter 'self' cannot be passed by name"),
    "bound method of a builtin": ({}.get, r"^builtins\.dict\.get: the parameter 'key' cannot be passed by name"),
    "wrapper of itself": (wrapping_itself(), r"test_signatures\.py:\d+: .*looped: wrapper loop"),
    "wrong signature": (signed_wrongly(), r"test_signatures\.py:\d+: .*signed: unexpected object 5 in __signature__"),
}


@pytest.mark.parametrize(("function", "words"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://a"), completion], ids=str)
def test_a_callable_that_cannot_be_served_is_refused_by_its_name(function, words, declare):
    with pytest.raises(DefinitionError, match=words):
        declare(function)


VIEW_DECORATORS = {
    "login_required": login_required,
    "permission_required": permission_required("shop.view_order"),
    "csrf_exempt": csrf_exempt,
    "require_POST": require_POST,
}


@pytest.mark.parametrize("decorate", VIEW_DECORATORS.values(), ids=VIEW_DECORATORS)
@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://{sku}")], ids=["tool", "prompt", "resource"])
def test_a_decorator_of_views_is_refused(decorate, declare):
    def search(sku: str) -> str: ...

    async def search_later(sku: str) -> str: ...

    for function in (search, search_later):
        with pytest.raises(DefinitionError, match=r"wants the argument 'request', .*; write permission=, "):
            declare(decorate(function))


@pytest.mark.parametrize("hint", ["Nowhere", "functools.nowhere", "list[", "3 + 'a'"])
def test_annotation_that_cannot_be_resolved_names_the_function(hint):
    def strange(a) -> str: ...

    strange.__annotations__["a"] = hint
    with pytest.raises(DefinitionError, match=r"test_signatures\..*strange: .*annotation"):
        tool(strange)


# -- names that are taken ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "declare", [tool(name="a"), prompt(name="a"), resource("shop://a")], ids=["tool", "prompt", "resource"]
)
def test_name_that_is_taken_names_both_places(declare):
    def first() -> str: ...
    def second() -> str: ...

    declare(first)
    place = r"tests\.django\.test_signatures\.\S*"
    with pytest.raises(DefinitionError, match=f"declared twice, by {place}first and by {place}second"):
        declare(second)


def test_second_completion_names_both_places():
    async def first(ref, argument, context): ...
    async def second(ref, argument, context): ...

    completion(first)
    with pytest.raises(DefinitionError, match=r"declared already, by \S*first, and again by \S*second"):
        completion(second)
