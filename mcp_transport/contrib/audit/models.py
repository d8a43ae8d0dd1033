"""What happened: a row for each event, which nothing changes afterwards."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.db import models, router
from django.utils.translation import gettext_lazy as _

from mcp_transport.contrib.audit.serialization import values_of, words
from mcp_transport.domain.audit_events import AuditEvent

__all__ = ["AuditEntries", "AuditEntry", "Event", "Outcome"]

# Few enough for the parameters of one statement in any database.
_BATCH: Final = 500


class Event(models.TextChoices):
    """What happened; each one is a signal, too."""

    SESSION_OPENED = "session_opened", _("session opened")
    SESSION_CLOSED = "session_closed", _("session closed")
    TOOL_CALLED = "tool_called", _("tool called")
    ACCESS_DENIED = "access_denied", _("access denied")


class Outcome(models.TextChoices):
    """How a call ended, or by whom a session was."""

    OK = "ok", _("ok")
    ERROR = "error", _("error")
    CANCELLED = "cancelled", _("cancelled")
    CLIENT = "client", _("ended by the client")
    LIMIT = "limit", _("made room for another session")
    STAFF = "staff", _("ended by an operator")


class AuditEntries(models.Manager["AuditEntry"]):
    """Writes entries, and deletes old ones."""

    def record(self, event: AuditEvent) -> AuditEntry:
        """Store an event; what a client sent is cut where it does not fit."""
        return self.create(**{name: self._fitting(name, value) for name, value in values_of(event).items()})

    def prune(self, before: datetime) -> int:
        """Delete what is older than a time, and return how many entries that were.

        They go in batches: nobody who writes entries has to wait for long.
        """
        # A replica that lags behind would name those again that are gone.
        entries = self.using(router.db_for_write(self.model))
        deleted = 0
        while keys := list(entries.filter(when__lt=before).order_by("when").values_list("pk", flat=True)[:_BATCH]):
            deleted += entries.filter(pk__in=keys).delete()[0]
        return deleted

    def _fitting(self, name: str, value: Any) -> Any:
        longest = getattr(self.model._meta.get_field(name), "max_length", None)
        return words(str(value), longest) if longest is not None else value


class AuditEntry(models.Model):
    """Something that happened, and who did it; columns that say nothing of an event are empty."""

    when = models.DateTimeField(_("when"), db_index=True)
    event = models.CharField(_("event"), max_length=16, choices=Event.choices)
    user = models.CharField(_("user name"), max_length=200, blank=True)
    issuer = models.CharField(
        _("issuer"), max_length=200, blank=True, help_text=_('Who vouches for the caller; "django": this project.')
    )
    subject = models.CharField(
        _("subject"), max_length=255, blank=True, help_text=_("What the issuer calls the caller; empty for nobody.")
    )
    address = models.CharField(_("address"), max_length=64, blank=True)
    session = models.CharField(
        _("session"), max_length=16, blank=True, help_text=_("Its short id, as in logs; it opens nothing.")
    )
    client = models.CharField(
        _("client"), max_length=200, blank=True, help_text=_("What the client calls itself; nobody has proved it.")
    )
    operation = models.CharField(
        _("operation"), max_length=100, blank=True, help_text=_("The method of MCP or, if it was not read, of HTTP.")
    )
    name = models.CharField(
        _("name"), max_length=200, blank=True, help_text=_("The tool, resource or prompt that was asked for.")
    )
    outcome = models.CharField(_("outcome"), max_length=16, blank=True, choices=Outcome.choices)
    reason = models.CharField(_("reason"), max_length=500, blank=True, help_text=_("Why access was denied."))
    seconds = models.FloatField(_("seconds"), null=True, blank=True)
    arguments = models.JSONField(_("arguments"), null=True, blank=True)

    objects = AuditEntries()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        ordering = ("-when", "-pk")

    def __str__(self) -> str:
        told = (self.when.isoformat(" ", "seconds"), self.event, self.user, self.name or self.session)
        return " ".join(word for word in told if word)
