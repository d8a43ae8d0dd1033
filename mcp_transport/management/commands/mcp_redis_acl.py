"""`manage.py mcp_redis_acl`: print the permissions that the Redis user of the backend needs."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport.session_backend import redis_acl_rule

__all__ = ["Command"]


class Command(BaseCommand):
    """Prints one line for redis-cli; it does not connect to Redis."""

    help = "Print the ACL SETUSER command that gives a Redis user just the permissions that the redis backend needs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", default="mcp", help="name of the Redis user (default %(default)s)")

    def handle(self, *args: Any, user: str, **options: Any) -> None:
        if not re.fullmatch(r"[^\s'\"\\]+", user):
            raise CommandError("The name of a Redis user must not contain spaces, quotes or backslashes.")
        try:
            self.stdout.write(redis_acl_rule(user))
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
