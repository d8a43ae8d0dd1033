"""`manage.py mcp_redis_acl`: print the rights that the sessions' Redis user needs."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport import bootstrap

__all__ = ["Command"]


class Command(BaseCommand):
    """Prints one line for redis-cli; it asks nothing of Redis."""

    help = "Print the ACL SETUSER command that gives a Redis user the rights the redis backend needs, and no others."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", default="mcp", help="the name of the user (default %(default)s)")

    def handle(self, *args: Any, user: str, **options: Any) -> None:
        if not re.fullmatch(r"[^\s'\"\\]+", user):
            raise CommandError("A Redis user has a name without spaces, quotes and backslashes.")
        try:
            self.stdout.write(bootstrap.redis_acl_rule(user))
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
