"""Output schemas of the shop's tools where a model alone is not enough."""

from datetime import datetime
from decimal import Decimal
from typing import Self

from pydantic import BaseModel, Field

from mcpsite.shop.models import Order, OrderLine, Product


class OrderLineDetail(BaseModel):
    """One product of an order."""

    sku: str
    name: str
    quantity: int
    unit_price: Decimal

    @classmethod
    def of(cls, line: OrderLine) -> Self:
        """Describe a stored line."""
        product = line.product
        return cls(sku=product.sku, name=product.name, quantity=line.quantity, unit_price=line.unit_price)


class OrderDetail(BaseModel):
    """An order with its lines and total."""

    number: str
    status: str
    created: datetime
    customer: str
    lines: list[OrderLineDetail]
    total: Decimal

    @classmethod
    def of(cls, order: Order) -> Self:
        """Describe a stored order."""
        lines = [OrderLineDetail.of(line) for line in order.lines.select_related("product")]
        return cls(
            number=order.number,
            status=order.status,
            created=order.created,
            customer=str(order.customer),
            lines=lines,
            total=order.total,
        )


class RestockLine(BaseModel):
    """How many units of a product to buy."""

    sku: str
    name: str
    stock: int
    buy: int = Field(description="Units that bring the stock back to the target.")


class CartLine(BaseModel):
    """One product in the cart, at today's price."""

    sku: str
    name: str
    quantity: int
    unit_price: Decimal


class Cart(BaseModel):
    """What this session is about to buy."""

    lines: list[CartLine]
    total: Decimal

    @classmethod
    def of(cls, quantities: dict[str, int]) -> Self:
        """Price the quantities kept in the session."""
        products = Product.objects.filter(sku__in=quantities)
        lines = [
            CartLine(sku=product.sku, name=product.name, quantity=quantities[product.sku], unit_price=product.price)
            for product in products
        ]
        return cls(lines=lines, total=sum((line.unit_price * line.quantity for line in lines), Decimal(0)))


class Confirmation(BaseModel):
    """What the user is asked before an order is placed."""

    confirm: bool = Field(title="Place this order", description="Say yes to buy, no to leave it.")


class Caller(BaseModel):
    """Who is calling, as the server sees it."""

    username: str = Field(description="Empty for an anonymous caller.")
    is_authenticated: bool
    is_staff: bool
    user_agent: str
    protocol_version: str
