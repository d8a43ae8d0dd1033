"""All rules, in the order in which their findings are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mcp_transport.doctor.findings import Finding
from mcp_transport.doctor.report import plain
from mcp_transport.doctor.rules import access, reaching, sessions, streams
from mcp_transport.doctor.seen import Seen

__all__ = ["RULES", "judge"]

RULES: Final[tuple[Callable[[Seen], Finding], ...]] = (
    reaching.reachable,
    reaching.tls,
    reaching.http_version,
    reaching.health,
    access.authentication,
    access.origin,
    sessions.initialize,
    sessions.sessionless,
    sessions.session_nodes,
    sessions.nodes,
    sessions.headers,
    reaching.connection_reuse,
    reaching.upstream,
    streams.first_event,
    streams.event_spacing,
    streams.compression,
    streams.idle,
    sessions.resume,
    sessions.delete,
    reaching.clock,
    reaching.body_size,
    reaching.body_limit,
)
_WITHOUT_ANSWER: Final = (reaching.reachable, reaching.tls)


def judge(seen: Seen) -> list[Finding]:
    """Judge everything that was seen; where nothing answered, only that."""
    rules = RULES if seen.is_reached else _WITHOUT_ANSWER
    return [_cleaned(rule(seen), seen.secrets) for rule in rules]


def _cleaned(finding: Finding, secrets: tuple[str, ...]) -> Finding:
    """Take out what a terminal would obey, and secrets that a server repeats."""
    return replace(finding, seen=plain(finding.seen, secrets), expected=plain(finding.expected, secrets))
