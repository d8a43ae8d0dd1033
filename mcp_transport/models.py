"""The unmanaged model of sessions, for Django's permissions; sessions are not stored in the database."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from mcp_transport.domain.session import short_id

__all__ = ["Session", "Sessions"]


class Sessions(models.Manager["Session"]):
    """Returns an empty queryset, since there is no table that commands such as `dumpdata` could query."""

    def get_queryset(self) -> models.QuerySet[Session]:
        return super().get_queryset().none()


class Session(models.Model):
    """A session in Django's permissions, log entries and admin; the session backend stores the sessions."""

    key = models.CharField(_("key"), max_length=26, primary_key=True, editable=False)

    objects = Sessions()

    class Meta:
        managed = False
        base_manager_name = "objects"
        default_permissions = ("view", "change", "delete")
        permissions = (
            ("view_mcp_payloads", _("Can view MCP payloads")),
            ("drain_mcp_nodes", _("Can drain MCP nodes")),
        )
        verbose_name = _("MCP session")
        verbose_name_plural = _("MCP sessions")

    def __str__(self) -> str:
        return short_id(self.key)
