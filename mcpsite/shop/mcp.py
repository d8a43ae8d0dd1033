"""The shop over MCP: each tool, resource and prompt demonstrates one feature of the transport."""

import asyncio
from typing import Annotated

from asgiref.sync import sync_to_async
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    Completion,
    CompletionArgument,
    CompletionContext,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    PromptReference,
    ResourceTemplateReference,
)
from mcp_types.version import is_version_at_least
from pydantic import Field

from mcp_transport import Context, completion, prompt, resource, tool
from mcpsite.shop import orders
from mcpsite.shop.models import Order, Product
from mcpsite.shop.schemas import Caller, Cart, Confirmation, OrderDetail, RestockLine

Sku = Annotated[str, Field(description="A product's SKU, such as mug-blue.", max_length=32)]
Quantity = Annotated[int, Field(description="How many units.", ge=1, le=1000)]
OrderNumber = Annotated[str, Field(description="An order's number, such as SO-1001.", max_length=16)]

MAX_COMPLETIONS = 100


# Synchronous functions over models: they run in a thread, and models are serialised automatically.


@tool(title="Search products", read_only=True)
def search_products(
    query: Annotated[str, Field(description="Words to look for; leave empty for all products.")] = "",
    limit: Annotated[int, Field(description="The most products to return.", ge=1, le=100)] = 10,
) -> list[Product]:
    """Find products whose SKU, name or description contains every word of the query."""
    return list(Product.objects.matching(query)[:limit])


@tool(title="Get a product", read_only=True)
def get_product(sku: Sku) -> Product:
    """Return one product with its price and stock."""
    product = Product.objects.filter(sku=sku).first()
    if product is None:
        raise ToolError(f"No product has the SKU {sku}.")
    return product


@tool(title="Get an order", read_only=True)
def get_order(number: OrderNumber) -> OrderDetail:
    """Return an order with its customer, lines and total."""
    return OrderDetail.of(_order(number))


# Progress and log messages on the call's own stream.


@tool(title="Restock report", read_only=True)
async def restock_report(
    ctx: Context,
    target: Annotated[int, Field(description="The stock every product should have.", ge=1, le=10_000)] = 20,
) -> list[RestockLine]:
    """List what to buy so that every product reaches the target stock, with progress per product."""
    products = [product async for product in Product.objects.all()]
    report = []
    for done, product in enumerate(products, start=1):
        if product.stock == 0:
            await ctx.warning(f"{product.sku} is sold out")
        if product.stock < target:
            report.append(
                RestockLine(sku=product.sku, name=product.name, stock=product.stock, buy=target - product.stock)
            )
        await ctx.report_progress(done, len(products), product.sku)
    return report


# Asking the user in the middle of a call.


@tool(title="Place an order", read_only=False, destructive=False, idempotent=False)
async def place_order(
    ctx: Context,
    sku: Sku,
    email: Annotated[str, Field(description="The customer's e-mail address.", pattern=r"^[^@\s]+@[^@\s]+$")],
    quantity: Quantity = 1,
) -> OrderDetail | InputRequiredResult:
    """Order a product after the user has agreed to the price; nothing is bought without a yes."""
    try:
        offer = await sync_to_async(orders.quote)(email, sku, quantity)
        agreed = await _confirmed(ctx, str(offer))
        if isinstance(agreed, InputRequiredResult):
            return agreed
        if not agreed:
            raise ToolError("The user did not confirm; nothing was ordered.")
        order = await sync_to_async(orders.place)(offer)
    except orders.OrderRefused as refusal:
        raise ToolError(str(refusal)) from refusal
    await ctx.notify_resource_updated(f"shop://products/{sku}")
    return await sync_to_async(OrderDetail.of)(order)


async def _confirmed(ctx: Context, offer: str) -> bool | InputRequiredResult:
    """Ask the user for confirmation, as the client's protocol version requires."""
    question = f"Order {offer}?"
    if is_version_at_least(ctx.protocol_version, "2026-07-28"):
        return _confirmed_by_retry(ctx, question)
    answer = await ctx.elicit(question, Confirmation)
    return answer.action == "accept" and answer.data.confirm


def _confirmed_by_retry(ctx: Context, question: str) -> bool | InputRequiredResult:
    """Return the answer in the client's retry, or request one.

    The question is sealed in the request state: an answer to another offer, such as one with an
    old price, is ignored and the user is asked again.
    """
    answer = (ctx.input_responses or {}).get("confirmation")
    if not isinstance(answer, ElicitResult) or ctx.request_state != question:
        form = ElicitRequestFormParams(message=question, requested_schema=Confirmation.model_json_schema())
        return InputRequiredResult(
            input_requests={"confirmation": ElicitRequest(params=form)}, request_state=question
        )
    return answer.action == "accept" and (answer.content or {}).get("confirm") is True


# Session state, available on whichever node the next call runs.


@tool(title="Add to the cart", read_only=False, destructive=False, idempotent=False)
async def cart_add(ctx: Context, sku: Sku, quantity: Quantity = 1) -> Cart:
    """Put a product into this session's cart."""
    if not await Product.objects.filter(sku=sku).aexists():
        raise ToolError(f"No product has the SKU {sku}.")
    quantities = await ctx.session.get("cart", {})
    quantities[sku] = quantities.get(sku, 0) + quantity
    await ctx.session.set("cart", quantities)
    return await sync_to_async(Cart.of)(quantities)


@tool(title="Show the cart", read_only=True)
async def cart_show(ctx: Context) -> Cart:
    """Show this session's cart at today's prices."""
    return await sync_to_async(Cart.of)(await ctx.session.get("cart", {}))


@tool(title="Empty the cart", read_only=False, destructive=True, idempotent=True)
async def cart_clear(ctx: Context) -> Cart:
    """Throw everything out of this session's cart."""
    await ctx.session.delete("cart")
    return await sync_to_async(Cart.of)({})


# Long calls: kill the connection in the middle and resume it.


@tool(title="Count slowly", read_only=True, durable=True)
async def count_slowly(
    ctx: Context,
    steps: Annotated[int, Field(description="How far to count.", ge=1, le=100_000)],
    delay_ms: Annotated[int, Field(description="Milliseconds between steps.", ge=0, le=60_000)] = 100,
) -> str:
    """Count aloud, one progress and one log message per step; good for trying out resumption."""
    for step in range(1, steps + 1):
        await asyncio.sleep(delay_ms / 1000)
        await ctx.report_progress(step, steps, f"step {step}")
        await ctx.info(f"step {step} of {steps}")
    return f"Counted to {steps}."


@tool(title="Polling demonstration", read_only=True)
async def poll_demo(ctx: Context) -> str:
    """Close the connection before the work is done; the client comes back for the rest by itself."""
    await ctx.report_progress(1, 2, "closing the connection")
    await ctx.close_sse_stream()
    await asyncio.sleep(0.5)
    await ctx.report_progress(2, 2, "done while nobody was connected")
    return "The work went on without a connection."


# The caller, as Django knows them.


@tool(title="Who am I", read_only=True)
def whoami(ctx: Context) -> Caller:
    """Tell who is calling: the Django user, the client program and the protocol version."""
    return Caller(
        username=ctx.user.get_username(),
        is_authenticated=ctx.user.is_authenticated,
        is_staff=ctx.user.is_staff,
        user_agent=ctx.headers.get("user-agent", ""),
        protocol_version=ctx.protocol_version or "",
    )


# Resources, a prompt and completions.


@resource("shop://products", title="All products", mime_type="application/json")
def products() -> list[Product]:
    """List every product of the shop."""
    return list(Product.objects.all())


@resource("shop://products/{sku}", title="One product", mime_type="application/json")
def product(sku: str) -> Product:
    """Show one product."""
    match = Product.objects.filter(sku=sku).first()
    if match is None:
        raise ResourceNotFoundError(f"No product has the SKU {sku}.")
    return match


@prompt(title="Summarise an order")
def order_summary(number: OrderNumber) -> str:
    """Ask for a summary of an order that a customer can read."""
    try:
        order = OrderDetail.of(_order(number))
    except ToolError as error:
        raise MCPError(INVALID_PARAMS, str(error)) from error
    details = order.model_dump_json(indent=2)
    return f"Summarise this order for {order.customer} in two friendly sentences:\n\n{details}"


@completion
async def complete(
    ref: PromptReference | ResourceTemplateReference,
    argument: CompletionArgument,
    context: CompletionContext | None,
) -> Completion | None:
    """Complete SKUs and order numbers from what is in the database."""
    fields = {"sku": (Product.objects, "sku"), "number": (Order.objects, "number")}
    if argument.name not in fields:
        return None
    manager, field = fields[argument.name]
    matches = manager.filter(**{f"{field}__istartswith": argument.value}).order_by(field)
    total = await matches.acount()
    values = [value async for value in matches.values_list(field, flat=True)[:MAX_COMPLETIONS]]
    return Completion(values=values, total=total, has_more=total > len(values))


def _order(number: str) -> Order:
    order = Order.objects.select_related("customer").filter(number=number).first()
    if order is None:
        raise ToolError(f"No order has the number {number}.")
    return order
