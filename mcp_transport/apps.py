"""The app configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.translation import gettext_lazy as _

__all__ = ["MCPTransportConfig"]


class MCPTransportConfig(AppConfig):
    """Registers the system checks and, in servers, imports every app's `mcp.py`. Opens no connections."""

    name = "mcp_transport"
    verbose_name = _("Model Context Protocol")

    def ready(self) -> None:
        from mcp_transport import checks, deploy_checks, discovery, log_redaction
        from mcp_transport.connections import watch_connections

        discovery.check_shadowing()
        log_redaction.install()
        watch_connections()
        for check in checks.CHECKS:
            register(check, Tags.compatibility)
        for check in deploy_checks.DEPLOY_CHECKS:
            register(check, Tags.compatibility, deploy=True)
        if discovery.is_starting_server():
            discovery.discover()
