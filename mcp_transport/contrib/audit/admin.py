"""The audit log in the Django admin."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mcp_transport.contrib.audit.models import AuditEntry

__all__ = ["AuditEntryAdmin"]


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin):
    """Shows audit entries, which cannot be added or changed; the delete permission applies as usual."""

    date_hierarchy = "when"
    list_display = ("when", "event", "user", "operation", "name", "outcome", "seconds", "session", "address")
    list_filter = ("event", "outcome", "when")
    search_fields = ("user", "subject", "session", "name")
    search_help_text = _("Search by username, subject, session ID or tool")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False
