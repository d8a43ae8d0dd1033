"""A shop whose tools, prompts and resources are not for everybody: Ann may see its orders, Bob may not."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from mcp_types import Completion
from pydantic import Field

from mcp_transport import Context, Principal, completion, prompt, resource, tool
from mcp_transport.declarations import Declarations
from mcp_transport.engine.authorization import insufficient_scope
from mcp_transport.engine.broadcasts import publish
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from mcp_transport.server import build_server


class Person:
    """A user as tests need one: its permissions are a set."""

    is_authenticated = is_active = True

    def __init__(self, name: str, *permissions: str) -> None:
        self.pk, self.permissions = name, set(permissions)

    def has_perms(self, names: tuple[str, ...]) -> bool:
        return self.permissions >= set(names)


ANN = Principal("test", "ann", user=Person("ann", "shop.view_order"), scopes=frozenset({"orders:read"}))
BOB = Principal("test", "bob", user=Person("bob"), scopes=frozenset())
PEOPLE = {"ann": ANN, "bob": BOB}


async def authenticate(request: Any) -> Principal:
    return PEOPLE.get(request.user, Principal())


def only_ann(principal: Principal) -> bool:
    return principal.subject == "ann"


async def only_bob(principal: Principal) -> bool:
    return principal.subject == "bob"


def serve_declared(endpoint: Endpoint, declarations: Declarations, server: Any = None) -> Endpoint:
    """Have an endpoint that has served nothing yet serve what is declared, or a server with these rules."""
    endpoint.kernel = Kernel(server or build_server((b"k" * 32,)))
    access = declarations.access
    endpoint._authorization = endpoint._build_authorization(access, insufficient_scope) if access else None
    endpoint.kernel.bus.publish_to = partial(publish, endpoint.backend, endpoint.kernel.bus.deliver)
    endpoint._authenticate = authenticate
    return endpoint


def declare(*, completes: bool = True) -> None:
    declare_tools()
    declare_durable_and_typed_tools()
    declare_prompts()
    declare_resources()
    if completes:
        declare_completion()


def declare_tools() -> None:
    @tool
    def open_to_all() -> str:
        return "open"

    @tool(permission="shop.view_order")
    def orders(number: int = 0) -> str:
        return "orders"

    @tool(permission=["shop.view_order", "shop.change_order"])
    def change() -> str:
        return "changed"

    @tool(scopes=["orders:read", "orders:write"])
    def write() -> str:
        return "written"

    @tool(scopes=["orders:read"])
    async def read(ctx: Context) -> str:
        return ",".join(sorted(ctx.principal.scopes or ()))

    @tool(visible=only_ann, scopes=["secret"])
    def for_ann() -> str:
        return "ann"

    @tool(visible=only_bob)
    async def for_bob() -> str:
        return "bob"


def declare_durable_and_typed_tools() -> None:
    @tool(permission=["shop.view_order", "shop.change_order"], scopes=["orders:read"], read_only=True)
    async def sealed(number: int) -> list[int]:
        return [number]

    @tool(permission="shop.view_order")
    def parcel(
        number: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Number"})],
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "",
    ) -> str:
        return region

    @tool(permission="shop.view_order", durable=True)
    async def lasting(ctx: Context) -> str:
        await ctx.info("lasts")
        return "lasted"


def declare_prompts() -> None:
    @prompt(permission="shop.view_order")
    def summary(order: str) -> str:
        return f"Sum up {order}"

    @prompt(visible=only_ann, scopes=["secret"])
    def letter() -> str:
        return "Dear"


def declare_resources() -> None:
    @resource("shop://orders", permission="shop.view_order")
    def all_orders() -> str:
        return "1, 2"

    @resource("shop://orders/{number}", permission="shop.view_order", scopes=["orders:read"])
    def one_order(number: str) -> str:
        return number

    @resource("shop://bills/{+path}", visible=only_ann)
    def bills(path: str) -> str:
        return path

    @resource("shop://counts/{count}", permission="shop.view_order")
    def counts(count: int) -> str:
        return str(count)

    @resource("shop://products")
    def products() -> str:
        return "tea"


def declare_completion() -> None:
    @completion
    def complete(ref: Any, argument: Any, context: Any) -> Completion:
        is_known = getattr(ref, "name", None) in ("summary", "letter") or "orders" in getattr(ref, "uri", "")
        return Completion(values=["1"] if is_known else [])
