"""The app configuration of personal access tokens."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

__all__ = ["TokensConfig"]


class TokensConfig(AppConfig):
    """Manages personal access tokens for MCP clients."""

    name = "mcp_transport.contrib.tokens"
    label = "mcp_tokens"
    verbose_name = _("MCP access tokens")
    default_auto_field = "django.db.models.BigAutoField"
