"""`manage.py mcp_doctor URL`: diagnose a live endpoint from outside, through all proxies."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport.doctor import DoctorOptions, Finding, Status, evaluate, run_probes
from mcp_transport.doctor.report import as_json, lines
from mcp_transport.management.argument_types import add_seconds, whole_number
from mcp_transport.management.terminal import Terminal, write_result
from mcp_transport.validation import origins_fault

__all__ = ["Command", "exit_status"]

_TOKEN: Final = "MCP_DOCTOR_TOKEN"  # noqa: S105 (the name of the variable)
_MAX_NODES: Final = 10_000


class Command(BaseCommand):
    """Needs no settings of the diagnosed server and no access to its machines."""

    help = (
        "Diagnose a live MCP endpoint from outside: TLS, HTTP, sessions on every node, streams, authentication. "
        "The exit status is 1 if there is a problem, and 2 if options are invalid or the endpoint needs a token."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", help="URL of the endpoint, such as https://mcp.example.com/mcp")
        parser.add_argument("--token", default="", help=f"bearer token; safer in the environment, as {_TOKEN}")
        parser.add_argument(
            "--expect-nodes",
            type=whole_number(0, _MAX_NODES),
            default=0,
            help="expected number of nodes (processes)",
        )
        add_seconds(parser, "--idle", 1, 20.0, "seconds for which idle streams are held open")
        parser.add_argument("--origin", action="append", default=[], help="origin that must be allowed (repeatable)")
        parser.add_argument(
            "--region", action="append", default=[], help="URL of the endpoint in another region (repeatable)"
        )
        parser.add_argument("--insecure", action="store_true", help="continue with an untrusted certificate")
        parser.add_argument(
            "--strict", action="store_true", help="exit with 1 for a warning, and with 2 if something is unknown"
        )
        parser.add_argument("--json", action="store_true", help="print the findings as JSON")

    def handle(self, *args: Any, url: str, **options: Any) -> None:
        options["token"] = options["token"] or os.environ.get(_TOKEN, "")
        _check_values(options)
        doctor_options = DoctorOptions(
            url=_checked_url(url),
            token=options["token"],
            idle=options["idle"],
            nodes=options["expect_nodes"],
            origins=tuple(origin.rstrip("/") for origin in options["origin"]),  # as browsers write them
            insecure=options["insecure"],
            regions=tuple(map(_checked_url, options["region"])),
        )
        terminal = Terminal(self.stderr, (doctor_options.token,))
        observed = asyncio.run(
            run_probes(doctor_options, lambda text, share: terminal.progress(round(100 * share), 100, text))
        )
        terminal.clear()
        findings = evaluate(observed)
        write_result(self.stdout, options, as_json(url, findings), lines(url, findings, self._painted))
        if observed.needs_token:
            self.stderr.write(f"Most could not be examined: use --token or {_TOKEN}.")
        if status := exit_status(findings, is_incomplete=observed.needs_token, is_strict=options["strict"]):
            sys.exit(status)

    def _painted(self, status: Status, text: str) -> str:
        styles = {Status.OK: self.style.SUCCESS, Status.WARNING: self.style.WARNING, Status.PROBLEM: self.style.ERROR}
        return styles[status](text) if status in styles else text


def exit_status(findings: Sequence[Finding], *, is_incomplete: bool, is_strict: bool) -> int:
    """Return 1 for a problem, 2 if too little could be examined, and 0; strictly, warnings and unknowns count."""
    statuses = {finding.status for finding in findings}
    if Status.PROBLEM in statuses or (is_strict and Status.WARNING in statuses):
        return 1
    return 2 if is_incomplete or (is_strict and Status.UNKNOWN in statuses) else 0


def _check_values(options: dict[str, Any]) -> None:
    """Validate --token and --origin. Raises: CommandError, which does not contain the token."""
    for name in ("token", "origin"):
        if not all(_is_header(value) for value in options[name]):
            raise CommandError(f"--{name}: expected visible ASCII", returncode=2)
    if "*" in options["origin"] or origins_fault(options["origin"]):
        raise CommandError(
            "--origin: expected a scheme, a host, and a port if not the default: https://app.example", returncode=2
        )


def _is_header(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _checked_url(url: str) -> str:
    """Return the URL. Raises: CommandError if it is invalid or contains secrets."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not _is_header(url):
        raise CommandError("expected a URL of an endpoint, such as https://mcp.example.com/mcp", returncode=2)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise CommandError(
            "the URL must not have credentials, a query or a fragment; use --token for a token", returncode=2
        )
    return url
