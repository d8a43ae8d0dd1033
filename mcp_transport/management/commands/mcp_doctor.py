"""`manage.py mcp_doctor URL`: look at a live endpoint through whatever stands before it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any, Final
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport.doctor import DoctorOptions, Status, examine, judge
from mcp_transport.doctor.report import lines, record
from mcp_transport.management.argument_types import seconds, whole_number
from mcp_transport.validation import origins_fault

__all__ = ["Command"]

_TOKEN: Final = "MCP_DOCTOR_TOKEN"  # noqa: S105 (the name of the variable)
_MOST_NODES: Final = 10_000


class Command(BaseCommand):
    """Needs no settings of the server it looks at, and no access to its machines."""

    help = (
        "Look at a live MCP endpoint from outside: TLS, HTTP, sessions on every node, streams, access. "
        "The exit status is 1 when there is a problem."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", help="the endpoint, such as https://mcp.example.com/mcp")
        parser.add_argument("--token", default="", help=f"a bearer token; better in the environment, as {_TOKEN}")
        parser.add_argument(
            "--expect-nodes",
            type=whole_number(0, _MOST_NODES),
            default=0,
            help="how many nodes (processes) there should be",
        )
        parser.add_argument(
            "--idle",
            type=seconds(1),
            default=20.0,
            help="how many seconds silent streams are held (default %(default)s)",
        )
        parser.add_argument(
            "--origin", action="append", default=[], help="an origin of pages that must be let in; may be repeated"
        )
        parser.add_argument("--insecure", action="store_true", help="go on with a certificate that is not trusted")
        parser.add_argument("--json", action="store_true", help="print the findings as JSON")

    def handle(self, *args: Any, url: str, **options: Any) -> None:
        options["token"] = options["token"] or os.environ.get(_TOKEN, "")
        _check_values(options)
        asked = DoctorOptions(
            url=_checked(url),
            token=options["token"],
            idle=options["idle"],
            nodes=options["expect_nodes"],
            origins=tuple(origin.rstrip("/") for origin in options["origin"]),  # as browsers write them
            insecure=options["insecure"],
        )
        findings = judge(asyncio.run(examine(asked)))
        if options["json"]:
            self.stdout.write(json.dumps(record(asked.url, findings), indent=2))
        else:
            self.stdout.write("\n".join(lines(asked.url, findings)))
        if any(finding.status is Status.PROBLEM for finding in findings):
            sys.exit(1)


def _check_values(options: dict[str, Any]) -> None:
    """Refuse what cannot be meant. Raises: CommandError, which repeats no token."""
    for name in ("token", "origin"):
        if not all(_is_header(value) for value in options[name]):
            raise CommandError(f"--{name}: expected visible ASCII")
    if "*" in options["origin"] or origins_fault(options["origin"]):
        raise CommandError("--origin: expected scheme and host, with the port if there is one: https://app.example")


def _is_header(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _checked(url: str) -> str:
    """Return the URL. Raises: CommandError if it is none, or carries what must not be printed."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not _is_header(url):
        raise CommandError("expected the URL of an endpoint, such as https://mcp.example.com/mcp")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise CommandError("the URL must have no credentials, query or fragment; a token belongs to --token")
    return url
