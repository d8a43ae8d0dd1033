"""Why a call has no result: what operators are shown of it, and its log line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from mcp_transport.domain.current_call import CallLabel, label_fields, label_text, quote_detail
from mcp_transport.domain.history import MAX_ARGUMENTS, MAX_MESSAGE, Ending, Failure, FailureKind
from mcp_transport.domain.policy import Policy
from mcp_transport.kernel import raised_in
from mcp_transport.protocol.jsonrpc import Outcome, Request

__all__ = ["describe_failure", "log_failure_of", "shortened_json"]

logger = logging.getLogger(__name__)


def describe_failure(forced: Failure | None, request: Request, outcome: Outcome | None, policy: Policy) -> Failure:
    """Return why a request has no result; its message and its arguments only if the policy keeps payloads.

    An end that was `forced`, such as a timeout, has its kind; of any other one, the running task has noted the cause.
    """
    text, payloads = "", policy.failure_payloads
    if forced is not None:
        ending, kind, error = forced.ending, forced.kind, forced.error
    elif outcome is None:
        ending, kind, error = Ending.CANCELLED, FailureKind.BY_CLIENT, ""
    else:
        raised = raised_in(outcome)
        ending, kind, error, text = Ending.ERROR, raised.kind, raised.error, raised.text
    code = (outcome.error or {}).get("code") if outcome is not None else None
    return Failure(
        ending=ending,
        kind=kind,
        error=error,
        code=code if type(code) is int else None,
        message=(text or _client_text(outcome))[:MAX_MESSAGE] if payloads else "",
        arguments=_arguments(request) if payloads else "",
    )


def log_failure_of(failure: Failure, label: CallLabel, seconds: float, node: str) -> None:
    """Log in one line how a call ended without a result; the record has the same as attributes."""
    if not logger.isEnabledFor(logging.INFO):
        return
    fields = label_fields(label)
    details = {"kind": failure.kind.value, "error": failure.error, "code": failure.code, "seconds": round(seconds, 3)}
    shown = [f"{name}={quote_detail(value)}" for name, value in details.items() if value not in ("", None)]
    line = " ".join((*shown, f"node={node}", label_text(fields)))
    extra = {"session": fields.get("session", ""), "request_id": fields.get("request", ""), "node": node, **details}
    extra |= {name: fields[name] for name in ("user", "tool") if name in fields}
    with suppress(Exception):  # a handler of logging may fail; the call has ended
        logger.info("%s ended without a result: %s", quote_detail(label[3]), line, extra=extra)


def _client_text(outcome: Outcome | None) -> str:
    """Return what the client was told."""
    if outcome is None:
        return ""
    if outcome.error is not None:
        return str(outcome.error.get("message", ""))
    content = (outcome.result or {}).get("content")
    blocks = content if isinstance(content, list) else []
    texts = [block["text"] for block in blocks if isinstance(block, Mapping) and isinstance(block.get("text"), str)]
    return "\n".join(texts)


def _arguments(request: Request) -> str:
    params = request.params or {}
    return shortened_json(params.get("arguments") if request.method in ("tools/call", "prompts/get") else params)


def shortened_json(value: Any) -> str:
    """Encode a value as JSON of at most MAX_ARGUMENTS characters, the last one of which tells that it was cut."""
    if value is None:
        return ""
    try:
        text = orjson.dumps(value).decode()
    except (TypeError, ValueError, RecursionError):  # nested too deep, a lone surrogate, a large integer
        return "(not encodable as JSON)"
    return text if len(text) <= MAX_ARGUMENTS else f"{text[: MAX_ARGUMENTS - 1]}…"
