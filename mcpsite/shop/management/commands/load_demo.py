"""`manage.py load_demo`: load the demonstration data of the shop."""

import os
from argparse import ArgumentParser
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from mcpsite.shop.models import Customer, Order, OrderLine, Product

ADMIN = "admin"

PRODUCTS = [
    ("bag-canvas", "Canvas bag", "Natural cotton, long handles.", "12.50", 64),
    ("bottle-steel", "Steel bottle", "Keeps 0.5 l cold for a day.", "24.00", 18),
    ("cap-green", "Green cap", "Organic cotton, one size.", "15.00", 7),
    ("hoodie-grey", "Grey hoodie", "Heavy fleece with a zip.", "49.90", 12),
    ("mug-blue", "Blue mug", "Stoneware, 350 ml, dishwasher safe.", "9.50", 40),
    ("mug-red", "Red mug", "Stoneware, 350 ml, dishwasher safe.", "9.50", 3),
    ("notebook-a5", "Notebook A5", "Dotted paper, 160 pages.", "7.20", 120),
    ("pen-black", "Black pen", "Gel ink, refillable.", "2.80", 300),
    ("poster-django", "Django poster", "A pony in full gallop, 50 x 70 cm.", "18.00", 0),
    ("socks-striped", "Striped socks", "Wool blend, sizes 39 to 42.", "8.90", 25),
    ("sticker-pack", "Sticker pack", "Ten stickers for a laptop.", "4.00", 200),
    ("tea-green", "Green tea", "Loose leaf, 100 g.", "6.40", 15),
]

CUSTOMERS = [
    ("ada@example.com", "Ada Lovelace"),
    ("alan@example.com", "Alan Turing"),
    ("grace@example.com", "Grace Hopper"),
    ("katherine@example.com", "Katherine Johnson"),
]

ORDERS = [
    ("SO-1001", "ada@example.com", Order.Status.SHIPPED, 3, {"mug-blue": 2, "tea-green": 1}),
    ("SO-1002", "grace@example.com", Order.Status.SHIPPED, 5, {"notebook-a5": 10, "pen-black": 20}),
    ("SO-1003", "alan@example.com", Order.Status.PAID, 11, {"bottle-steel": 1}),
    ("SO-1004", "ada@example.com", Order.Status.CANCELLED, 12, {"poster-django": 1}),
    ("SO-1005", "katherine@example.com", Order.Status.PLACED, 18, {"hoodie-grey": 1, "socks-striped": 3}),
    ("SO-1006", "grace@example.com", Order.Status.PLACED, 20, {"sticker-pack": 5, "mug-red": 1}),
]


class Command(BaseCommand):
    """Adds missing demonstration data; existing rows are not changed."""

    help = "Add demonstration products, customers and orders, and a staff login (admin / admin)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --force."""
        parser.add_argument("--force", action="store_true", help="Run although DEBUG is off.")

    @transaction.atomic
    def handle(self, *args: Any, force: bool, **options: Any) -> None:
        """Load all data in one transaction."""
        if not (settings.DEBUG or force):
            raise CommandError("Demonstration data is for DEBUG only; use --force to load it anyway.")
        login = load_staff()
        products = load_products()
        load_orders(products, load_customers())
        counts = f"{len(PRODUCTS)} products, {len(CUSTOMERS)} customers, {len(ORDERS)} orders"
        self.stdout.write(f"Demonstration data: {counts}.\nStaff login: {login}")


def load_staff() -> str:
    """Create the staff user and return its login; a password from the environment is not shown."""
    chosen = os.environ.get("DEMO_ADMIN_PASSWORD")
    if not (chosen or settings.DEBUG):
        raise CommandError("Outside DEBUG the staff password must come from DEMO_ADMIN_PASSWORD.")
    user, created = get_user_model().objects.get_or_create(
        username=ADMIN, defaults={"email": "admin@example.com", "is_staff": True, "is_superuser": True}
    )
    if created or (chosen and not user.check_password(chosen)):
        user.set_password(chosen or ADMIN)
        user.save()
    return f"{ADMIN} / {ADMIN}" if user.check_password(ADMIN) else f"{ADMIN}, with the password you chose"


def load_products() -> dict[str, Product]:
    """Add missing products and return those of the demonstration by SKU."""
    Product.objects.bulk_create(
        (
            Product(sku=sku, name=name, description=description, price=Decimal(price), stock=stock)
            for sku, name, description, price, stock in PRODUCTS
        ),
        ignore_conflicts=True,
    )
    return {product.sku: product for product in Product.objects.filter(sku__in=[row[0] for row in PRODUCTS])}


def load_customers() -> dict[str, Customer]:
    """Add missing customers and return those of the demonstration by e-mail address."""
    Customer.objects.bulk_create(
        (Customer(email=email, name=name) for email, name in CUSTOMERS), ignore_conflicts=True
    )
    emails = [email for email, _ in CUSTOMERS]
    return {customer.email: customer for customer in Customer.objects.filter(email__in=emails)}


def load_orders(products: dict[str, Product], customers: dict[str, Customer]) -> None:
    """Add missing orders with their lines."""
    for number, email, status, day, quantities in ORDERS:
        order, created = Order.objects.get_or_create(
            number=number,
            defaults={
                "customer": customers[email],
                "status": status,
                "created": datetime(2026, 10, day, 9, 30, tzinfo=UTC),
            },
        )
        if created:
            OrderLine.objects.bulk_create(
                OrderLine(order=order, product=products[sku], quantity=quantity, unit_price=products[sku].price)
                for sku, quantity in quantities.items()
            )
