"""An endpoint without Django, on a clock that stands still."""

from __future__ import annotations

from tests.support.endpoint import build_endpoint, client, clock, endpoint, gate

__all__ = ["build_endpoint", "client", "clock", "endpoint", "gate"]
