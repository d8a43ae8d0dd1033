"""Quoting and placing orders, independent of MCP."""

from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from mcpsite.shop.models import Customer, Order, Product


class OrderRefused(Exception):
    """The order cannot be placed; the message is the reason."""


@dataclass(frozen=True)
class Quote:
    """An offer for the customer to confirm."""

    email: str
    sku: str
    name: str
    quantity: int
    unit_price: Decimal

    def __str__(self) -> str:
        total = self.unit_price * self.quantity
        return f"{self.quantity} x {self.name} at {self.unit_price}, {total} in total, for {self.email}"


def quote(email: str, sku: str, quantity: int) -> Quote:
    """Return an offer for an order that is in stock."""
    product = Product.objects.filter(sku=sku).first()
    if product is None:
        raise OrderRefused(f"No product has the SKU {sku}.")
    if product.stock < quantity:
        raise OrderRefused(f"Only {product.stock} of {product.sku} left.")
    return Quote(email, product.sku, product.name, quantity, product.price)


@transaction.atomic
def place(agreed: Quote) -> Order:
    """Reduce the stock and create the order, if price and stock still match the offer."""
    product = Product.objects.select_for_update().filter(sku=agreed.sku).first()
    if product is None or product.price != agreed.unit_price:
        raise OrderRefused(f"The offer for {agreed.sku} has changed; ask again.")
    if product.stock < agreed.quantity:
        raise OrderRefused(f"Only {product.stock} of {product.sku} left.")
    product.stock -= agreed.quantity
    product.save(update_fields=["stock"])
    customer, _ = Customer.objects.get_or_create(email=agreed.email, defaults={"name": agreed.email})
    order = Order.objects.create(customer=customer)
    order.lines.create(product=product, quantity=agreed.quantity, unit_price=product.price)
    return order
