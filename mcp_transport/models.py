"""What permissions to operate sessions hang on; sessions themselves are in no database."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from mcp_transport.domain.session import short_id

__all__ = ["Session", "Sessions"]


class Sessions(models.Manager["Session"]):
    """Finds nothing: there is no table, which `dumpdata` and the like would otherwise ask."""

    def get_queryset(self) -> models.QuerySet[Session]:
        return super().get_queryset().none()


class Session(models.Model):
    """A name for Django's permissions, log entries and admin; the session backend has the sessions."""

    key = models.CharField(_("key"), max_length=26, primary_key=True, editable=False)

    objects = Sessions()

    class Meta:
        managed = False
        base_manager_name = "objects"
        default_permissions = ("view", "change", "delete")
        permissions = (("view_mcp_payloads", _("Can view MCP payloads")),)
        verbose_name = _("MCP session")
        verbose_name_plural = _("MCP sessions")

    def __str__(self) -> str:
        return short_id(self.key)
