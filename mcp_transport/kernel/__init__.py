"""The only package that uses private and provisional parts of the official SDK.

The SDK serves a single request without its own loop when it is given a `Connection` built from `ClientInfo` and a
dispatch context. These seams may move in a minor release: nothing outside this package imports them, and
`tests/kernel/test_private_seams.py` names each of them, and fails when one moves.
"""

from __future__ import annotations

from mcp.server.elicitation import ElicitationResult, ElicitSchemaModelT

from mcp_transport.kernel.audience import Listener
from mcp_transport.kernel.call_permits import (
    CallPermit,
    SharedPermits,
    begin_call,
    current_permit,
    result_of,
    settle_call,
    watched,
)
from mcp_transport.kernel.dispatch_context import Exchange
from mcp_transport.kernel.errors import (
    CallEnded,
    ClientError,
    MCPError,
    NoChannel,
    Refused,
    TooLarge,
    is_cancellation,
    is_interrupt,
)
from mcp_transport.kernel.failures import note_failure, raised_error, raised_in
from mcp_transport.kernel.handlers import (
    apply_spec_corrections,
    convert_context,
    lowlevel,
    register_session_handlers,
    request_client,
    send_log,
    serve_completions,
)
from mcp_transport.kernel.header_parameters import header_annotation_fault, request_headers
from mcp_transport.kernel.kernel import Kernel
from mcp_transport.kernel.lifespan import Lifespan
from mcp_transport.kernel.limits import LimitError, check_answer, json_size
from mcp_transport.kernel.list_checks import listing_fault, tool_name_fault
from mcp_transport.kernel.otel_metrics import record_session
from mcp_transport.kernel.schemas import SerializationSchema, output_schema
from mcp_transport.kernel.text_arguments import non_text_parameters, template_variables
from mcp_transport.kernel.tracing import (
    JoinedSpan,
    continued_trace,
    copy_span,
    is_measured,
    is_traced,
    observe_spans,
    trace_headers,
)
from mcp_transport.kernel.types import Caller, CallerSession, CallLimits, ClientChannel, ClientInfo
from mcp_transport.kernel.validation_errors import explain
from mcp_transport.kernel.visibility import Visibility

__all__ = [
    "CallEnded",
    "CallLimits",
    "CallPermit",
    "Caller",
    "CallerSession",
    "ClientChannel",
    "ClientError",
    "ClientInfo",
    "ElicitSchemaModelT",
    "ElicitationResult",
    "Exchange",
    "JoinedSpan",
    "Kernel",
    "Lifespan",
    "LimitError",
    "Listener",
    "MCPError",
    "NoChannel",
    "Refused",
    "SerializationSchema",
    "SharedPermits",
    "TooLarge",
    "Visibility",
    "apply_spec_corrections",
    "begin_call",
    "check_answer",
    "continued_trace",
    "convert_context",
    "copy_span",
    "current_permit",
    "explain",
    "header_annotation_fault",
    "is_cancellation",
    "is_interrupt",
    "is_measured",
    "is_traced",
    "json_size",
    "listing_fault",
    "lowlevel",
    "non_text_parameters",
    "note_failure",
    "observe_spans",
    "output_schema",
    "raised_error",
    "raised_in",
    "record_session",
    "register_session_handlers",
    "request_client",
    "request_headers",
    "result_of",
    "send_log",
    "serve_completions",
    "settle_call",
    "template_variables",
    "tool_name_fault",
    "trace_headers",
    "watched",
]
