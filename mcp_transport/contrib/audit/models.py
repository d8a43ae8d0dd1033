"""The audit log: an immutable row for each event."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.db import models, router
from django.utils.translation import gettext_lazy as _

from mcp_transport.contrib.audit.serialization import single_line, values_of
from mcp_transport.domain.audit_events import AuditEvent
from mcp_transport.operators.representation.sessions import FAILURES

__all__ = ["FAILURE_CHOICES", "AuditEntries", "AuditEntry", "Event", "Outcome"]

# Within the limit of parameters per statement of every database.
_DELETE_BATCH: Final = 500


FAILURE_CHOICES: Final = [(kind.value, label) for kind, label in FAILURES.items()]


class Event(models.TextChoices):
    """The kinds of events; each has a signal, too."""

    SESSION_OPENED = "session_opened", _("session opened")
    SESSION_CLOSED = "session_closed", _("session closed")
    TOOL_CALLED = "tool_called", _("tool called")
    ACCESS_DENIED = "access_denied", _("access denied")


class Outcome(models.TextChoices):
    """The outcome of a call, or the reason why a session was closed."""

    OK = "ok", _("ok")
    ERROR = "error", _("error")
    CANCELLED = "cancelled", _("cancelled")
    CLIENT = "client", _("closed by the client")
    LIMIT = "limit", _("evicted: session limit reached")
    STAFF = "staff", _("closed by an operator")


class AuditEntries(models.Manager["AuditEntry"]):
    """Records events, and deletes old entries."""

    def record(self, event: AuditEvent) -> AuditEntry:
        """Store an event; values from a client are truncated to the length of their column."""
        return self.create(**{name: self._truncate(name, value) for name, value in values_of(event).items()})

    def prune(self, before: datetime) -> int:
        """Delete the entries before a time, and return their number.

        They are deleted in batches, so that writers do not wait for long.
        """
        # Not from a replica, which may lag and return entries that have been deleted.
        entries, deleted = self.using(router.db_for_write(self.model)), 0
        old = entries.filter(when__lt=before).order_by("when").values_list("pk", flat=True)
        while keys := list(old[:_DELETE_BATCH]):
            deleted += entries.filter(pk__in=keys).delete()[0]
        return deleted

    def _truncate(self, name: str, value: Any) -> Any:
        max_length = getattr(self.model._meta.get_field(name), "max_length", None)
        return single_line(str(value), max_length) if max_length is not None else value


class AuditEntry(models.Model):
    """An event, and who caused it; columns that do not apply to the event are empty."""

    when = models.DateTimeField(_("time"), db_index=True)
    event = models.CharField(_("event"), max_length=16, choices=Event.choices)
    user = models.CharField(_("username"), max_length=200, blank=True)
    issuer = models.CharField(
        _("issuer"), max_length=200, blank=True, help_text=_('Issuer of the credentials; "django": this project.')
    )
    subject = models.CharField(
        _("subject"), max_length=255, blank=True, help_text=_("ID of the caller at the issuer; empty if anonymous.")
    )
    address = models.CharField(_("IP address"), max_length=64, blank=True)
    session = models.CharField(
        _("session"), max_length=16, blank=True, help_text=_("Short session ID, as in logs (not a credential).")
    )
    client = models.CharField(
        _("client"), max_length=200, blank=True, help_text=_("The name that the client gives itself; unverified.")
    )
    operation = models.CharField(
        _("operation"), max_length=100, blank=True, help_text=_("MCP method, or HTTP method if it was not parsed.")
    )
    name = models.CharField(
        _("name"), max_length=200, blank=True, help_text=_("The requested tool, resource or prompt.")
    )
    outcome = models.CharField(_("outcome"), max_length=16, blank=True, choices=Outcome.choices)
    reason = models.CharField(_("reason"), max_length=500, blank=True, help_text=_("Why access was denied."))
    # `db_default`: the previous release, which writes no such columns, may use the table at the same time.
    request = models.CharField(
        _("request"),
        max_length=260,
        blank=True,
        default="",
        db_default="",
        help_text=_('ID of the request as JSON: 7 and "7" are different.'),
    )
    node = models.CharField(
        _("node"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text=_("The node that ran or refused the call."),
    )
    kind = models.CharField(
        _("why"),
        max_length=32,
        blank=True,
        default="",
        db_default="",
        choices=FAILURE_CHOICES,
        help_text=_("Why the call has no result."),
    )
    error = models.CharField(
        _("error"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=_("Class of the exception, or the limit that refused."),
    )
    code = models.IntegerField(_("code"), null=True, blank=True, help_text=_("JSON-RPC code, if the client got one."))
    message = models.CharField(
        _("message"),
        max_length=1000,
        blank=True,
        default="",
        db_default="",
        help_text=_("What the client or the log was told."),
    )
    seconds = models.FloatField(_("duration (s)"), null=True, blank=True)
    arguments = models.JSONField(_("arguments"), null=True, blank=True)

    objects = AuditEntries()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        ordering = ("-when", "-pk")

    def __str__(self) -> str:
        parts = (self.when.isoformat(" ", "seconds"), self.event, self.user, self.name or self.session)
        return " ".join(part for part in parts if part)
