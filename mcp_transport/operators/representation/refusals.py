"""Explains why requests were refused."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import Final

from django.utils.translation import gettext_lazy as _

from mcp_transport.operators.representation.fields import Label

__all__ = ["reason_text"]

_REASONS: Final[dict[str, Label]] = {
    "400": _("400: not a valid request"),
    "401": _("401: not authenticated"),
    "403": _("403: not allowed"),
    "404": _("404: no such session"),
    "405": _("405: method not allowed"),
    "406": _("406: answer not acceptable"),
    "408": _("408: the request did not arrive in time"),
    "409": _("409: the request is already running"),
    "413": _("413: too large"),
    "415": _("415: not JSON"),
    "429": _("429: too many requests"),
    "503": _("503: not available"),
    "room": _("Evicted: session limit reached"),
    "MAX_CONCURRENT_CALLS": _("Load: too many calls at a time (MAX_CONCURRENT_CALLS)"),
    "TOOL_THREADS": _("Load: no thread is free (TOOL_THREADS)"),
    "max_concurrency": _("Load: too many calls of a tool at a time (max_concurrency)"),
    "RATE_LIMITS": _("Load: too many requests within a time (RATE_LIMITS)"),
    "rate_limit": _("Load: too many calls of a tool within a time (rate_limit)"),
    "circuit_breaker": _("Load: too many calls of a tool have failed (circuit_breaker)"),
}


def reason_text(reason: str) -> str:
    """Explain a reason: the phrase of an HTTP status that has no explanation of its own."""
    if reason in _REASONS:
        return str(_REASONS[reason])
    with suppress(ValueError):
        return f"{reason}: {HTTPStatus(int(reason)).phrase.lower()}"
    return reason
