"""`manage.py mcp_dynamodb`: create and check the table of the DynamoDB backend, and print IAM policies for it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport import conf, session_backend
from mcp_transport.exceptions import BackendError

__all__ = ["Command"]


class Command(BaseCommand):
    """Works with the table of the setting DYNAMODB, also before BACKEND is `dynamodb`."""

    help = "Create the table of the dynamodb backend, check it, or print the IAM policy that its nodes need."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("create", help="create the table unless it exists, and wait until it can be used")
        verbs.add_parser("check", help="compare the table with what the backend needs")
        policy = verbs.add_parser("policy", help="print the least IAM policy, as JSON; connects to nothing")
        policy.add_argument("--create", action="store_true", help="the rights of `create` and `check` instead")
        policy.add_argument(
            "--region",
            type=_matching(r"\*|[a-z0-9-]+", "a region or *"),
            help="region (default: the setting's, or *)",
        )
        policy.add_argument(
            "--account",
            type=_matching(r"\*|\d{12}", "12 digits or *"),
            default="*",
            help="account with the table (default %(default)s)",
        )
        policy.add_argument(
            "--partition",
            choices=("aws", "aws-cn", "aws-us-gov"),
            default="aws",
            help="partition of the ARN (default %(default)s)",
        )

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        if fault := conf.problems().get("DYNAMODB"):
            raise CommandError(f"MCP_TRANSPORT['DYNAMODB']: {fault}.")
        if verb == "policy":
            self._print_policy(options["region"], options["account"], options["partition"], creates=options["create"])
            return
        work = session_backend.create_table if verb == "create" else session_backend.check_table
        try:
            differences = async_to_sync(work)()
        except (ImproperlyConfigured, BackendError) as error:
            raise CommandError(f"`{verb}` failed: {error}.") from error
        name = session_backend.table_name()
        if differences:
            raise CommandError("\n".join([f"The table {name} is not as the backend needs it:", *differences]))
        self.stdout.write(f"The table {name} is as the backend needs it.")

    def _print_policy(self, region: str | None, account: str, partition: str, *, creates: bool) -> None:
        policy = session_backend.table_policy(region, account, partition, creates=creates)
        self.stdout.write(json.dumps(policy, indent=2))


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    """Return a type of arguments that match a pattern."""

    def convert(text: str) -> str:
        if not re.fullmatch(pattern, text, re.A):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return text

    return convert
