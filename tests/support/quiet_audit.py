"""The app that keeps the record, as the test run installs it."""

from __future__ import annotations

from mcp_transport.contrib.audit.apps import AuditConfig

__all__ = ["QuietAuditConfig"]


class QuietAuditConfig(AuditConfig):
    """Has the table, but listens to nothing: tests of other things would write into it, behind their own work."""

    def ready(self) -> None:
        pass
