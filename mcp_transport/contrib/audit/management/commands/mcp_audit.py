"""Delete old audit entries, from the shell or by cron."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from mcp_transport.contrib.audit.models import AuditEntry
from mcp_transport.management.argument_types import MAX_DAYS, whole_number

__all__ = ["Command"]


class Command(BaseCommand):
    """Prunes the audit log in the project's database."""

    help = "Delete old audit entries."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        prune = verbs.add_parser("prune", help="delete old entries and print their number")
        prune.add_argument(
            "--older-than-days",
            type=whole_number(1, MAX_DAYS),
            required=True,
            metavar="N",
            help="delete entries older than N days",
        )

    def handle(self, *args: Any, verb: str, older_than_days: int, **options: Any) -> None:
        deleted = AuditEntry.objects.prune(timezone.now() - timedelta(days=older_than_days))
        self.stdout.write(f"deleted {deleted} entr{'y' if deleted == 1 else 'ies'}")
