"""Quoting and placing orders; knows nothing of MCP."""

from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from mcpsite.shop.models import Customer, Order, Product


class OrderRefused(Exception):
    """The shop cannot fill this order; the text says why."""


@dataclass(frozen=True)
class Quote:
    """What a customer is asked to agree to."""

    email: str
    sku: str
    name: str
    quantity: int
    unit_price: Decimal

    def __str__(self) -> str:
        total = self.unit_price * self.quantity
        return f"{self.quantity} x {self.name} at {self.unit_price}, {total} in total, for {self.email}"


def quote(email: str, sku: str, quantity: int) -> Quote:
    """Name the price of an order that could be filled now."""
    product = Product.objects.filter(sku=sku).first()
    if product is None:
        raise OrderRefused(f"No product has the SKU {sku}.")
    if product.stock < quantity:
        raise OrderRefused(f"Only {product.stock} of {product.sku} left.")
    return Quote(email, product.sku, product.name, quantity, product.price)


@transaction.atomic
def place(agreed: Quote) -> Order:
    """Take the goods from the shelf and write the order down, if it is still what was agreed."""
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
