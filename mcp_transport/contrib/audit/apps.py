"""The app configuration of the audit log."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

__all__ = ["AuditConfig"]


class AuditConfig(AppConfig):
    """Stores the events of `mcp_transport.signals` in the database."""

    name = "mcp_transport.contrib.audit"
    label = "mcp_audit"
    verbose_name = _("MCP audit")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from mcp_transport.contrib.audit.receivers import connect

        connect()
