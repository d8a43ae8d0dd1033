"""Redaction of log records: exception texts and local variables may contain the arguments of tools.

The type and the traceback of an exception always reach the handlers of `logging`, and so Sentry and ADMINS. With
`LOG_EXCEPTION_TEXTS`, or while DEBUG is on, texts and variables do as well.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Final

from django.conf import settings

from mcp_transport import conf
from mcp_transport.log_context import CallSuffix
from mcp_transport.protocol.quoting import truncate
from mcp_transport.redaction import WITHHELD, is_long, raised_in, redacted

__all__ = ["RedactExceptionText", "captured_exceptions", "install", "shown_text"]

_LOGGERS: Final = (
    "mcp.server.mcpserver.server",
    "mcp.server.runner",
    "mcp_transport.adapters.aws_function",
    "mcp_transport.backends.membership",
    "mcp_transport.call_context",
    "mcp_transport.client.http",
    "mcp_transport.client.regions",
    "mcp_transport.connections",
    "mcp_transport.consumers",
    "mcp_transport.engine.authorization",
    "mcp_transport.engine.call",
    "mcp_transport.engine.coalesced_call",
    "mcp_transport.engine.endpoint",
    "mcp_transport.engine.tasks",
    "mcp_transport.engine.sessionful.messages",
    "mcp_transport.engine.sessionful.failover",
    "mcp_transport.prewarm",
    "mcp_transport.process.sigterm",
    "mcp_transport.process.warm_up",
    "mcp_transport.executor",
    "mcp_transport.function_adapter",
    "mcp_transport.kernel.lifespan",
    "mcp_transport.kernel.kernel",
    "mcp_transport.kernel.otel_metrics",
    "mcp_transport.kernel.sdk_path",
    "mcp_transport.kernel.tracing",
    "mcp_transport.signals",
    "mcp_transport.supervision",
)
"""The loggers that log exceptions."""

_CLIENT_TEXT_LOGGERS: Final = (
    "fastmcp.server.mixins.mcp_operations",
    "fastmcp.server.server",
    "mcp.server.connection",
    "mcp.server.context",
    "mcp.server.mcpserver.resolve",
    "mcp.server.mcpserver.resources.resource_manager",
    "mcp.server.mcpserver.server",
    "mcp.server.request_state",
    "mcp.server.runner",
    "mcp.server.session",
    "mcp.server.subscriptions",
    "opentelemetry.baggage.propagation",
    "opentelemetry.trace.propagation.tracecontext",
    "opentelemetry.trace.span",
)
"""Foreign loggers that log a client's text as received; this package escapes and truncates it itself."""

_MAX_QUOTED_ITEMS: Final = 20

# How the SDK's log messages quote the text of a handler's exception.
_QUOTING_SUFFIX: Final = "failed: %r"
# How they list wrong arguments: paths, which contain members of objects, that is the caller's data.
_FIELDS_SUFFIX: Final = "rejected arguments: %r"

# How the SDK's log messages begin, and the record's attribute for their first argument. A resource URI has arguments.
_SUBJECT_ATTRIBUTES: Final = {"Tool %r": "tool", "Completion for argument %r": "argument"}
_RESOURCE_PREFIX: Final = "Resource %r"


captured_exceptions = ContextVar[list[BaseException] | None]("mcp_transport.log_redaction.captured", default=None)
"""The exceptions raised while the test client's requests are served."""


class EscapeClientText(logging.Filter):
    """Truncates a client's text in log records, and escapes line breaks and control characters."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape a record's text, and let every record pass."""
        if isinstance(record.args, tuple) and record.args:
            record.args = tuple(map(_escaped, record.args))
        elif not record.args:
            record.msg = _escaped(record.msg)
        return True


class RedactExceptionText(logging.Filter):
    """Adds the type of the raised exception to log records, and removes its text and the local variables."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record, and let every record pass."""
        shows_texts = _has_exception_texts()
        message, args = str(record.msg), record.args if isinstance(record.args, tuple) else ()
        for beginning, subject in _SUBJECT_ATTRIBUTES.items():
            if message.startswith(beginning) and args:
                setattr(record, subject, args[0])
        if not shows_texts and args and message.startswith(_RESOURCE_PREFIX):
            args = ("(URI withheld)", *args[1:])
        if not shows_texts and args and message.endswith(_QUOTING_SUFFIX):
            args = (*args[:-1], WITHHELD)
        if args and message.endswith(_FIELDS_SUFFIX) and isinstance(paths := args[-1], list):
            args = (*args[:-1], sorted({str(path).partition(".")[0] for path in paths}))
        if isinstance(record.exc_info, tuple) and isinstance(error := record.exc_info[1], BaseException):
            raised = _handler_error(error)
            if (captured := captured_exceptions.get()) is not None:
                captured.append(raised)
            shown = raised if shows_texts and not is_long(raised) else redacted(raised)
            record.exc_info, record.exc_text = (type(shown), shown, shown.__traceback__), None
            # The message is the subject of mails to ADMINS, and distinguishes them.
            message = f"{message if args else message.replace('%', '%%')}: %s"
            args = (*args, type(raised).__name__)
        if args:
            record.msg, record.args = message, args
        return True


def install() -> None:
    """Add the filters to all loggers; calling this twice has no effect."""
    filters = ((EscapeClientText, _CLIENT_TEXT_LOGGERS), (RedactExceptionText, _LOGGERS), (CallSuffix, _LOGGERS))
    for kind, names in filters:
        for name in names:
            logger = logging.getLogger(name)
            if not any(isinstance(item, kind) for item in logger.filters):
                logger.addFilter(kind())


def shown_text(error: BaseException) -> str:
    """Return the text of a handler's exception, if logs have it, too; of a long one, that it was withheld."""
    if not _has_exception_texts():
        return ""
    return WITHHELD if is_long(error) else str(error)


def _escaped(value: object) -> object:
    if isinstance(value, list):
        return [_escaped(item) for item in value[:_MAX_QUOTED_ITEMS]]
    if not isinstance(value, str):
        return value
    text = truncate(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _has_exception_texts() -> bool:
    setting = conf.get("LOG_EXCEPTION_TEXTS")
    return bool(settings.DEBUG if setting is None else setting)


def _handler_error(error: BaseException) -> BaseException:
    """Return a handler's own exception, which the SDK wraps in exceptions that are the same for all handlers."""
    visited = {id(error)}
    while error.__cause__ is not None and "mcp" in {_package(raised_in(error)), _package(type(error).__module__)}:
        error = error.__cause__
        if id(error) in visited:  # an exception may be its own cause
            break
        visited.add(id(error))
    return error


def _package(module: str) -> str:
    return module.partition(".")[0]
