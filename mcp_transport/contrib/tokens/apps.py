"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

__all__ = ["TokensConfig"]


class TokensConfig(AppConfig):
    """Keeps the tokens that people hand to their MCP clients."""

    name = "mcp_transport.contrib.tokens"
    label = "mcp_tokens"
    verbose_name = _("MCP access tokens")
    default_auto_field = "django.db.models.BigAutoField"
