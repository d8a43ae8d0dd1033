"""Application configuration of the shop."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """The demonstration shop."""

    name = "mcpsite.shop"
    default_auto_field = "django.db.models.BigAutoField"
