"""The app configuration of the doctor's tool."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

__all__ = ["DoctorConfig"]


class DoctorConfig(AppConfig):
    """Declares the tool `mcp_doctor_events`."""

    name = "mcp_transport.contrib.doctor"
    label = "mcp_doctor"
    verbose_name = _("MCP doctor")

    def ready(self) -> None:
        from mcp_transport.discovery import on_discovery

        # Not in an mcp.py: importing a module must not publish a tool.
        on_discovery(_declare)


def _declare() -> None:
    from mcp_transport import tool
    from mcp_transport.contrib.doctor.events import mcp_doctor_events

    tool(read_only=True, open_world=False, title="Doctor's events")(mcp_doctor_events)
