"""Logs without what tools are called with: an exception's text may quote an argument, and so may local variables.

Its kind and stack always reach the handlers of `logging`, and so Sentry and ADMINS. `LOG_EXCEPTION_TEXTS` brings
texts and variables back; while DEBUG is on they are written anyway.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Final

from django.conf import settings

from mcp_transport import conf
from mcp_transport.protocol.quoting import cut
from mcp_transport.redaction import WITHHELD, is_long, origin, redacted

__all__ = ["Crashes", "caught", "install"]

_LOGGERS: Final = (
    "mcp.server.mcpserver.server",
    "mcp.server.runner",
    "mcp_transport.backends.redis.membership",
    "mcp_transport.call_context",
    "mcp_transport.client.http",
    "mcp_transport.connections",
    "mcp_transport.consumers",
    "mcp_transport.engine.call",
    "mcp_transport.engine.endpoint",
    "mcp_transport.engine.tasks",
    "mcp_transport.engine.sessionful.messages",
    "mcp_transport.engine.sessionful.failover",
    "mcp_transport.process.sigterm",
    "mcp_transport.executor",
    "mcp_transport.function_adapter",
    "mcp_transport.kernel.access",
    "mcp_transport.kernel.fast_path",
    "mcp_transport.kernel.lifespan",
    "mcp_transport.kernel.kernel",
    "mcp_transport.kernel.tracing",
    "mcp_transport.signals",
    "mcp_transport.supervision",
)
"""Whoever logs exceptions."""

_SDK: Final = (
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
"""Whoever logs what a client sent, as it came; this package quotes and cuts it where it logs."""

_MOST_ITEMS: Final = 20

# How they log what a handler said on purpose: its name, then its text.
_QUOTING: Final = "failed: %r"

# How the SDK's lines begin, and what their first word names; the URI of a resource holds arguments.
_SUBJECTS: Final = {"Tool %r": "tool", "Completion for argument %r": "argument"}
_RESOURCE: Final = "Resource %r"


caught: Final[ContextVar[list[BaseException] | None]] = ContextVar("mcp_transport.log_redaction.caught", default=None)
"""Where the client for tests keeps what is raised while its requests are served."""


class Quoted(logging.Filter):
    """Cuts what log records repeat of what a client sent, and escapes line breaks and control characters."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let each record pass."""
        if isinstance(record.args, tuple) and record.args:
            record.args = tuple(map(_quoted, record.args))
        elif not record.args:
            record.msg = _quoted(record.msg)
        return True


class Crashes(logging.Filter):
    """Makes log records say what was raised where, and takes texts and local variables out of them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let each record pass."""
        is_open = _texts_are_wanted()
        message, words = str(record.msg), record.args if isinstance(record.args, tuple) else ()
        for beginning, subject in _SUBJECTS.items():
            if message.startswith(beginning) and words:
                setattr(record, subject, words[0])
        if not is_open and words and message.startswith(_RESOURCE):
            words = ("(URI withheld)", *words[1:])
        if not is_open and words and message.endswith(_QUOTING):
            words = (*words[:-1], WITHHELD)
        if isinstance(record.exc_info, tuple) and isinstance(error := record.exc_info[1], BaseException):
            raised = _unwrapped(error)
            if (found := caught.get()) is not None:
                found.append(raised)
            shown = raised if is_open and not is_long(raised) else redacted(raised)
            record.exc_info, record.exc_text = (type(shown), shown, shown.__traceback__), None
            # Mails to ADMINS are told apart by this line alone.
            message, words = (
                f"{message if words else message.replace('%', '%%')}: %s",
                (*words, type(raised).__name__),
            )
        if words:
            record.msg, record.args = message, words
        return True


def install() -> None:
    """Have the loggers of exceptions write no texts, and the SDK's no raw ones; more than once does no harm."""
    for kind, names in ((Quoted, _SDK), (Crashes, _LOGGERS)):
        for name in names:
            logger = logging.getLogger(name)
            if not any(isinstance(known, kind) for known in logger.filters):
                logger.addFilter(kind())


def _quoted(value: object) -> object:
    if isinstance(value, list):
        return [_quoted(item) for item in value[:_MOST_ITEMS]]
    if not isinstance(value, str):
        return value
    text = cut(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _texts_are_wanted() -> bool:
    wanted = conf.get("LOG_EXCEPTION_TEXTS")
    return bool(settings.DEBUG if wanted is None else wanted)


def _unwrapped(error: BaseException) -> BaseException:
    """Return what a handler raised, out of what the SDK raises because of it, which is the same for all of them."""
    seen = {id(error)}
    while error.__cause__ is not None and "mcp" in {_package(origin(error)), _package(type(error).__module__)}:
        error = error.__cause__
        if id(error) in seen:  # an exception may be its own cause
            break
        seen.add(id(error))
    return error


def _package(module: str) -> str:
    return module.partition(".")[0]
