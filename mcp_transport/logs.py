"""Logs without what tools are called with: an exception's text may quote an argument, so only its kind is written.

`LOG_EXCEPTION_TEXTS` brings the texts back; while DEBUG is on they are written anyway.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Final

from django.conf import settings

from mcp_transport import conf

__all__ = ["WithoutTexts", "install"]

_LOGGERS: Final = (
    "mcp.server.mcpserver.server",
    "mcp.server.runner",
    "mcp_transport.engine.call",
    "mcp_transport.engine.endpoint",
    "mcp_transport.engine.lifecycle",
    "mcp_transport.kernel.calling",
    "mcp_transport.kernel.serving",
)
"""Whoever logs what a handler raises."""

# How they log what a handler said on purpose: its name, then its text.
_QUOTING: Final = "failed: %r"


class WithoutTexts(logging.Filter):
    """Takes the texts of exceptions out of log records; what was raised where stays."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let each record pass, without texts."""
        if _are_wanted():
            return True
        if isinstance(record.args, tuple) and str(record.msg).endswith(_QUOTING):
            record.args = (*record.args[:-1], "(text withheld)")
        if isinstance(record.exc_info, tuple) and isinstance(error := record.exc_info[1], BaseException):
            record.exc_text, record.exc_info = "\n".join(_lines(error)), None
        return True


def install() -> None:
    """Have the loggers of what handlers raise write no texts; more than once does no harm."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, WithoutTexts) for known in logger.filters):
            logger.addFilter(WithoutTexts())


def _are_wanted() -> bool:
    wanted = conf.get("LOG_EXCEPTION_TEXTS")
    return bool(settings.DEBUG if wanted is None else wanted)


def _lines(error: BaseException) -> Iterator[str]:
    """Write a traceback as Python does, causes first, with the kinds of exceptions alone."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _lines(cause)
        yield "\nThen:\n"
    yield "Traceback (most recent call last):"
    yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
    yield f"{type(error).__module__}.{type(error).__qualname__} (text withheld)"
