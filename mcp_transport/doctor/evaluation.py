"""All rules, in the order in which their findings are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mcp_transport.doctor.findings import Finding
from mcp_transport.doctor.observations import Observations
from mcp_transport.doctor.report import plain
from mcp_transport.doctor.rules import access, connectivity, sessions, streams

__all__ = ["RULES", "judge"]

RULES: Final[tuple[Callable[[Observations], Finding], ...]] = (
    connectivity.reachable,
    connectivity.tls,
    connectivity.http_version,
    connectivity.health,
    access.authentication,
    access.origin,
    sessions.initialize,
    sessions.sessionless,
    sessions.session_nodes,
    sessions.nodes,
    sessions.headers,
    connectivity.connection_reuse,
    connectivity.upstream,
    streams.first_event,
    streams.event_spacing,
    streams.compression,
    streams.idle,
    sessions.resume,
    sessions.delete,
    connectivity.clock,
    connectivity.body_size,
    connectivity.body_limit,
)
_WITHOUT_ANSWER: Final = (connectivity.reachable, connectivity.tls)


def judge(seen: Observations) -> list[Finding]:
    """Judge everything that was seen; where nothing answered, only that."""
    rules = RULES if seen.is_reached else _WITHOUT_ANSWER
    return [_cleaned(rule(seen), seen.secrets) for rule in rules]


def _cleaned(finding: Finding, secrets: tuple[str, ...]) -> Finding:
    """Take out what a terminal would obey, and secrets that a server repeats."""
    return replace(finding, seen=plain(finding.seen, secrets), expected=plain(finding.expected, secrets))
