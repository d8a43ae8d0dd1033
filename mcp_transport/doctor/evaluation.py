"""All rules, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mcp_transport.doctor.findings import Finding
from mcp_transport.doctor.observations import Observations
from mcp_transport.doctor.report import printable
from mcp_transport.doctor.rules import access, connectivity, reachability, regions, sessions, streams, traffic

__all__ = ["RULES", "evaluate"]

RULES: Final[tuple[Callable[[Observations], Finding], ...]] = (
    reachability.reachable,
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
    regions.regions,
    sessions.delete,
    connectivity.clock,
    connectivity.body_size,
    connectivity.body_limit,
    traffic.tool_list,
    traffic.restarts,
)
_RULES_IF_NOT_REACHED: Final = (reachability.reachable, connectivity.tls)


def evaluate(observed: Observations) -> list[Finding]:
    """Apply all rules that concern the endpoint; if it was not reached, only those that do not need it."""
    rules = RULES if observed.is_reached else _RULES_IF_NOT_REACHED
    if not observed.names_region:
        rules = tuple(rule for rule in rules if rule is not regions.regions)
    return [_redacted(rule(observed), observed.secrets) for rule in rules]


def _redacted(finding: Finding, secrets: tuple[str, ...]) -> Finding:
    """Remove control characters, and secrets that a server sends back."""
    observed, expected = (printable(text, secrets) for text in (finding.observed, finding.expected))
    return replace(finding, observed=observed, expected=expected)
