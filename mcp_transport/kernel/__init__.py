"""The one door to the official SDK's provisional seams.

The SDK serves one request without a loop of its own when it is given a connection built from facts and a
dispatch context. Those seams may move in a minor release, so nothing outside this package imports them, and
`tests/kernel/test_seams.py` fails loudly when one moves.
"""

from __future__ import annotations

from mcp.server.elicitation import ElicitationResult, ElicitSchemaModelT

from mcp_transport.kernel.dispatch_context import ClientError, Exchange, NoChannel
from mcp_transport.kernel.errors import MCPError, TooLarge, is_cancellation, is_interrupt
from mcp_transport.kernel.events import EventBus
from mcp_transport.kernel.handlers import (
    adopt_context,
    ask_client,
    conform,
    header_annotation_fault,
    lowlevel,
    send_log,
    serve_completions,
    sessionful_features,
)
from mcp_transport.kernel.kernel import Kernel
from mcp_transport.kernel.lifespan import Lifespan
from mcp_transport.kernel.limits import TooMuch, check_answer, json_size
from mcp_transport.kernel.list_checks import listing_fault, tool_name_fault
from mcp_transport.kernel.output_schema import WrittenSchema, output_schema
from mcp_transport.kernel.request_meta import open_envelope, request_headers
from mcp_transport.kernel.text_arguments import template_variables, untextual
from mcp_transport.kernel.tracing import continued_trace, trace_headers
from mcp_transport.kernel.types import Caller, CallerSession, ClientChannel, ClientInfo, Outcome, RetrySafety
from mcp_transport.kernel.validation_errors import described

__all__ = [
    "Caller",
    "CallerSession",
    "ClientChannel",
    "ClientError",
    "ClientInfo",
    "ElicitSchemaModelT",
    "ElicitationResult",
    "EventBus",
    "Exchange",
    "Kernel",
    "Lifespan",
    "MCPError",
    "NoChannel",
    "Outcome",
    "RetrySafety",
    "TooLarge",
    "TooMuch",
    "WrittenSchema",
    "adopt_context",
    "ask_client",
    "check_answer",
    "conform",
    "continued_trace",
    "described",
    "header_annotation_fault",
    "is_cancellation",
    "is_interrupt",
    "json_size",
    "listing_fault",
    "lowlevel",
    "open_envelope",
    "output_schema",
    "request_headers",
    "send_log",
    "serve_completions",
    "sessionful_features",
    "template_variables",
    "tool_name_fault",
    "trace_headers",
    "untextual",
]
