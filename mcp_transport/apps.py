"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

__all__ = ["MCPTransportConfig"]


class MCPTransportConfig(AppConfig):
    """Registers the system checks and imports every app's `mcp.py`; nothing connects anywhere here."""

    name = "mcp_transport"
    verbose_name = _("Model Context Protocol")

    def ready(self) -> None:
        from mcp_transport import checks, logs
        from mcp_transport.connections import watch_connections

        logs.install()
        watch_connections()
        for check in checks.CHECKS:
            register(check, Tags.compatibility)
        autodiscover_modules("mcp")
