"""Rules about what clients meet over time: the size of the list of tools, and answers while something restarts."""

from __future__ import annotations

from collections import Counter
from typing import Final

from mcp_transport.doctor.findings import Finding, ok, problem, unknown, warning
from mcp_transport.doctor.observations import Observations, Response

__all__ = ["restarts", "tool_list"]

MAX_LIST_BYTES: Final = 100_000
_ENDS_SESSION: Final = (404, 410)
_UNAVAILABLE: Final = (502, 503, 504)


def tool_list(observed: Observations) -> Finding:
    """Check the size of the whole list of tools, which clients put into each prompt of their model."""
    if not observed.list_bytes:
        return unknown("tool-list", "the tools could not be listed: see authentication, initialize and sessionless")
    summary = f"{observed.tools} tools in {observed.list_bytes / 1000:.0f} kB"
    if observed.list_bytes > MAX_LIST_BYTES:
        return warning(
            "tool-list", summary, f"{MAX_LIST_BYTES / 1000:.0f} kB or less: models read all of it each time"
        )
    return ok("tool-list", summary)


def restarts(observed: Observations) -> Finding:
    """Check requests that were sent each second: what answered them, while nodes or proxies restart, too."""
    if not observed.watched:
        return unknown("restarts", "no request could be sent each second")
    others = [response for response in observed.watched if response.status != 200]
    summary = f"{len(observed.watched) - len(others)} of {len(observed.watched)} requests, one a second, got 200"
    if not others:
        return ok("restarts", summary)
    summary += f"; {', '.join(f'{count} times {text}' for text, count in Counter(map(_outcome, others)).items())}"
    if any(response.status in _ENDS_SESSION and not response.message for response in others):
        expected = "503 while a proxy has no node or no route: clients take 404 for the end of their session"
        return problem("restarts", summary, expected)
    is_unavailable = all(response.status in _UNAVAILABLE or not response.status for response in others)
    if is_unavailable and any("retry-after" not in response.headers for response in others):
        return warning("restarts", summary, "each request is answered, or with 503 and Retry-After")
    return ok("restarts", summary) if is_unavailable else unknown("restarts", f"{summary}: see session-nodes")


def _outcome(response: Response) -> str:
    return response.outcome if response.message or response.failure else f"{response.outcome} of a proxy"
