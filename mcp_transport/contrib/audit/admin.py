"""The audit log in the Django admin."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from mcp_transport.contrib.audit.models import FAILURE_CHOICES, AuditEntry, Outcome
from mcp_transport.operators.representation.formats import exact_time, number

__all__ = ["AuditEntryAdmin"]

logger = logging.getLogger(__name__)

_PAYLOADS: Final = ("message", "arguments")
_OUTCOMES_OF_CALLS: Final = (Outcome.OK, Outcome.ERROR, Outcome.CANCELLED)
_REASONS: Final = (Outcome.CLIENT, Outcome.LIMIT, Outcome.STAFF)


class _OutcomeFilter(admin.SimpleListFilter):
    """Filters by some of the values of `outcome`, which has those of two kinds of events."""

    choices_of: tuple[Outcome, ...]

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [(outcome.value, outcome.label) for outcome in self.choices_of]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(outcome=self.value()) if self.value() else queryset


class CallOutcomeFilter(_OutcomeFilter):
    """Filters by the outcome of calls."""

    title, parameter_name, choices_of = _("outcome of a call"), "call", _OUTCOMES_OF_CALLS


class ClosingFilter(_OutcomeFilter):
    """Filters by why sessions were closed."""

    title, parameter_name, choices_of = _("reason of a closed session"), "closed", _REASONS


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin):
    """Shows audit entries, which cannot be added or changed; the delete permission applies as usual.

    Messages and arguments require the permission to see payloads.
    """

    date_hierarchy = "when"
    list_display = ("at", "event", "who", "operation", "name", "result", "duration", "session_link", "address")
    list_filter = ("event", CallOutcomeFilter, "kind", ClosingFilter, "when")
    search_fields = ("user", "subject", "session", "name")
    search_help_text = _("Search by username, subject, session ID or tool")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: AuditEntry | None = None) -> list[Any]:
        """Return the columns that a user may see, with links to the session and to the user."""
        fields = ["at", *(field.name for field in AuditEntry._meta.fields if field.name not in ("id", "when"))]
        if not request.user.has_perm("mcp_transport.view_mcp_payloads"):
            fields = [name for name in fields if name not in _PAYLOADS]
        return [{"session": "session_link", "user": "who"}.get(name, name) for name in fields]

    def get_readonly_fields(self, request: HttpRequest, obj: AuditEntry | None = None) -> list[Any]:
        """Return all of them."""
        return self.get_fields(request, obj)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **options: Any) -> HttpResponse:
        """Show an entry; log who sees its message or arguments."""
        entry = self.get_object(request, object_id)
        may_see = request.user.has_perm("mcp_transport.view_mcp_payloads")
        if entry is not None and may_see and (entry.message or entry.arguments is not None):
            logger.info("user %s viewed the payloads of audit entry %s", request.user.pk, entry.pk)
        return super().change_view(request, object_id, *args, **options)

    # -- columns -------------------------------------------------------------------------------------

    @admin.display(description=_("time"), ordering="when")
    def at(self, entry: AuditEntry) -> SafeString:
        """Return the time to the second, with its zone."""
        return format_html('<span class="nowrap">{}</span>', exact_time(entry.when.timestamp()))

    @admin.display(description=_("username"), ordering="user")
    def who(self, entry: AuditEntry) -> Any:
        """Return the user, with a link to the page of a user of this project."""
        url = _user_url(self.admin_site.name, entry)
        return format_html('<a href="{}">{}</a>', url, entry.user) if url and entry.user else entry.user or None

    @admin.display(description=_("outcome"), ordering="outcome")
    def result(self, entry: AuditEntry) -> Any:
        """Return the outcome and, of a failed call, why."""
        outcome = entry.get_outcome_display()
        if not entry.kind:
            return outcome
        details = ", ".join(filter(None, [entry.error, "" if entry.code is None else str(entry.code)]))
        why = dict(FAILURE_CHOICES).get(entry.kind, entry.kind)
        return f"{outcome}: {why}" + (f" ({details})" if details else "")

    @admin.display(description=_("duration (s)"), ordering="seconds")
    def duration(self, entry: AuditEntry) -> str | None:
        """Return the duration of a call, to the millisecond."""
        return None if entry.seconds is None else number(entry.seconds, 3)

    @admin.display(description=_("session"), ordering="session")
    def session_link(self, entry: AuditEntry) -> Any:
        """Return the short ID of the session, with a link to its page."""
        if not entry.session:
            return None
        try:
            url = reverse(
                "admin:mcp_transport_session_change", args=[entry.session], current_app=self.admin_site.name
            )
        except NoReverseMatch:
            return entry.session
        return format_html('<a class="nowrap" href="{}">{}</a>', url, entry.session)


def _user_url(site: str, entry: AuditEntry) -> str:
    """Return the address of the admin's page of a user; empty for users of other issuers."""
    if entry.issuer != "django" or not entry.subject:
        return ""
    options = get_user_model()._meta
    try:
        name = f"admin:{options.app_label}_{options.model_name}_change"
        return reverse(name, args=[entry.subject], current_app=site)
    except NoReverseMatch:
        return ""
