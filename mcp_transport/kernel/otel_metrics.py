"""OpenTelemetry: durations of operations and sessions, by the semantic conventions for MCP (status: development).

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from opentelemetry import metrics

from mcp_transport.domain.tool_durations import OTHER, BoundedNames
from mcp_transport.protocol.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RESOURCE_NOT_FOUND,
)
from mcp_transport.protocol.jsonrpc import Outcome

__all__ = ["OperationMetrics", "operation_attributes", "protocol_attributes", "record_session"]

# The boundaries that the conventions recommend for both histograms, in seconds.
_BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

# Errors of the caller, which are none of the server (conventions, `rpc.response.status_code`).
_FAULTS_OF_CALLERS: Final = (PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, RESOURCE_NOT_FOUND)

# The conventions' name for values that are not listed.
_UNLISTED: Final = "_OTHER"

_NAMES: Final = {"tools/call": "gen_ai.tool.name", "prompts/get": "gen_ai.prompt.name"}

Attributes = dict[str, str]

logger = logging.getLogger(__name__)


class _Instruments(NamedTuple):
    provider: metrics.MeterProvider
    operation: metrics.Histogram
    session: metrics.Histogram


_instruments: _Instruments | None = None


def _current_instruments() -> _Instruments:
    """Return the instruments of the process's meter provider, which a project may replace."""
    global _instruments
    provider = metrics.get_meter_provider()
    if _instruments is None or _instruments.provider is not provider:
        meter = provider.get_meter("mcp_transport")
        operation, session = (
            meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=_BOUNDS)
            for name, description in (
                ("mcp.server.operation.duration", "Duration of requests and notifications of MCP clients."),
                ("mcp.server.session.duration", "Duration of MCP sessions."),
            )
        )
        _instruments = _Instruments(provider, operation, session)
    return _instruments


def _record(is_session: bool, seconds: float, attributes: Attributes) -> None:
    try:
        instruments = _current_instruments()
        histogram = instruments.session if is_session else instruments.operation
        histogram.record(max(0.0, seconds), attributes)
    except Exception:  # raised by a provider of the project
        logger.debug("a duration cannot be recorded", exc_info=True)


def record_session(seconds: float, version: str) -> None:
    """Record the end of a session of a protocol revision."""
    _record(True, seconds, {**protocol_attributes(), "mcp.protocol.version": version})


class OperationMetrics:
    """Records the durations of operations; `has_tool` tells whether the server has a tool."""

    def __init__(self, has_tool: Callable[[str], bool]) -> None:
        self._names = {"tools/call": BoundedNames(has_tool), "prompts/get": BoundedNames(lambda _: False)}

    def record(self, operation: str, version: str, seconds: float, outcome: Outcome | None, http: str = "") -> None:
        """Record an operation by its method and name; `outcome` is None if it was cancelled, `http` the version."""
        method, _, name = operation.partition(" ")
        if name:
            succeeded = outcome is not None and not outcome.failed
            name = self._names[method].label(name, succeeded=succeeded) if method in self._names else ""
        attributes = operation_attributes(method, name, version, outcome)
        _record(False, seconds, {**attributes, **protocol_attributes(http)})

    def record_notification(self, method: str, version: str, seconds: float, http: str = "") -> None:
        """Record a notification, which has no outcome."""
        attributes = operation_attributes(method, "", version, Outcome())
        _record(False, seconds, {**attributes, **protocol_attributes(http)})


def protocol_attributes(http: str = "") -> Attributes:
    """Return the attributes of Streamable HTTP; `http` is the version of HTTP, if it is known."""
    attributes = {"network.transport": "quic" if http == "3" else "tcp", "network.protocol.name": "http"}
    return {**attributes, "network.protocol.version": http} if http else attributes


def operation_attributes(method: str, name: str, version: str, outcome: Outcome | None) -> Attributes:
    """Return the attributes of an operation; `name` is the tool or prompt, `outcome` is None if it was cancelled."""
    attributes = {"mcp.method.name": _UNLISTED if method == "unknown" else method, "mcp.protocol.version": version}
    if method == "tools/call":
        attributes["gen_ai.operation.name"] = "execute_tool"
    if name:
        attributes[_NAMES[method]] = _UNLISTED if name == OTHER else name
    if outcome is None:
        attributes["error.type"] = "cancelled"
    elif outcome.error is not None:
        _add_error(attributes, outcome.error.get("code"))
    elif method == "tools/call" and outcome.failed:
        attributes["error.type"] = "tool_error"
    return attributes


def _add_error(attributes: Attributes, code: Any) -> None:
    attributes["rpc.response.status_code"] = str(code)
    if code not in _FAULTS_OF_CALLERS:
        attributes["error.type"] = str(code)
