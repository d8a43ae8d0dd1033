"""The shop's products, customers and orders."""

import secrets
from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone


def new_order_number() -> str:
    """Return a random order number, which cannot be guessed from others."""
    return f"SO-{secrets.token_hex(4).upper()}"


class ProductQuerySet(models.QuerySet["Product"]):
    """Queries over products."""

    def matching(self, query: str) -> "ProductQuerySet":
        """Return the products whose SKU, name or description contains every word of the query."""
        products = self
        for term in query.split():
            fields = Q(sku__icontains=term) | Q(name__icontains=term) | Q(description__icontains=term)
            products = products.filter(fields)
        return products


class Product(models.Model):
    """A product with its stock."""

    sku = models.SlugField("SKU", max_length=32, unique=True, help_text="Such as mug-blue.")
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    price = models.DecimalField(max_digits=10, decimal_places=2, validators=[MinValueValidator(Decimal(0))])
    stock = models.PositiveIntegerField(default=0, help_text="Units on the shelf.")

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ("sku",)

    def __str__(self) -> str:
        return f"{self.name} ({self.sku})"


class Customer(models.Model):
    """A customer, identified by e-mail address."""

    name = models.CharField(max_length=120)
    email = models.EmailField(unique=True)

    class Meta:
        ordering = ("name", "email")

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class Order(models.Model):
    """An order and its status."""

    class Status(models.TextChoices):
        """The states of an order."""

        PLACED = "placed"
        PAID = "paid"
        SHIPPED = "shipped"
        CANCELLED = "cancelled"

    number = models.CharField(max_length=16, unique=True, default=new_order_number, editable=False)
    status = models.CharField(max_length=12, choices=Status, default=Status.PLACED)
    created = models.DateTimeField(default=timezone.now, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="orders")

    class Meta:
        ordering = ("-created", "-pk")

    def __str__(self) -> str:
        return self.number

    @property
    def total(self) -> Decimal:
        """Add up the lines."""
        return sum((line.total for line in self.lines.all()), Decimal(0))


class OrderLine(models.Model):
    """One product of an order, at the price when it was placed."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="order_lines")
    quantity = models.PositiveIntegerField(default=1)
    unit_price = models.DecimalField(max_digits=10, decimal_places=2)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(fields=["order", "product"], name="one_line_per_product"),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="quantity_at_least_one"),
        )

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product_id} at {self.unit_price}"

    @property
    def total(self) -> Decimal:
        """Multiply the price by the quantity."""
        return self.unit_price * self.quantity
