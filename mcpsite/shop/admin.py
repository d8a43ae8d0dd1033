"""The shop in the Django admin."""

from decimal import Decimal

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from mcpsite.shop.models import Customer, Order, OrderLine, Product

LOW_STOCK = 10


class StockFilter(admin.SimpleListFilter):
    """Filter products by stock level."""

    title = "stock"
    parameter_name = "stock"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        """Return the stock levels."""
        return [("none", "Sold out"), ("low", f"Below {LOW_STOCK}"), ("enough", "Enough")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Product]) -> QuerySet[Product]:
        """Filter by the selected level."""
        levels = {"none": {"stock": 0}, "low": {"stock__lt": LOW_STOCK}, "enough": {"stock__gte": LOW_STOCK}}
        return queryset.filter(**levels.get(self.value() or "", {}))


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Products, with price and stock editable in the list."""

    list_display = ("sku", "name", "price", "stock")
    list_editable = ("price", "stock")
    list_filter = (StockFilter,)
    search_fields = ("sku", "name", "description")


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    """Customers with the number of their orders."""

    list_display = ("name", "email", "order_count")
    search_fields = ("name", "email")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        """Fetch the orders of all customers in one query."""
        return super().get_queryset(request).prefetch_related("orders")

    @admin.display(description="orders")
    def order_count(self, customer: Customer) -> int:
        """Count the orders fetched."""
        return len(customer.orders.all())


class OrderLineInline(admin.TabularInline):
    """The lines of an order."""

    model = OrderLine
    autocomplete_fields = ("product",)
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders with their lines."""

    list_display = ("number", "status", "customer", "created", "total")
    list_filter = ("status", "created")
    list_select_related = ("customer",)
    search_fields = ("number", "customer__name", "customer__email")
    date_hierarchy = "created"
    autocomplete_fields = ("customer",)
    readonly_fields = ("number", "created", "total")
    inlines = (OrderLineInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        """Fetch the lines of all orders in one query."""
        return super().get_queryset(request).prefetch_related("lines")

    @admin.display(description="total")
    def total(self, order: Order) -> Decimal:
        """Show the sum of the lines."""
        return order.total
