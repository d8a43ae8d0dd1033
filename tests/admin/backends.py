"""Backends whose sessions are made up; settings name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mcp_transport.backends.base import Backend
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.backends.records import Page
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import SessionQuery


def unlisted(policy: Policy, now: Callable[[], float]) -> Backend:
    """Build a backend that cannot list."""
    return replace(Backend.of(MemoryBackend(policy, now)), index=None)


class Crowd(MemoryBackend):
    """A backend with 250 sessions, which counts them exactly or not, and remembers what it was asked."""

    exact = True
    asked: tuple[int, int, SessionQuery, str]

    async def page(self, offset: int = 0, limit: int = 100, query: Any = None, order: str = "") -> Page:
        type(self).asked = (offset, limit, query, order)
        everybody = [
            Session(key=f"{at:026}", protocol_version="x", last_seen=1.0, calls=at % 2, streams=3, errors=5)
            for at in range(250)
        ]
        return Page(tuple(everybody[offset : offset + limit]), 250, self.exact)
