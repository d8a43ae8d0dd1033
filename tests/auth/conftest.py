"""What the tests of the engine and of Django's side use, too."""

from __future__ import annotations

from tests.support.endpoint import build_endpoint, clock, gate
from tests.support.project import declarations, fresh_endpoint

__all__ = ["build_endpoint", "clock", "declarations", "fresh_endpoint", "gate"]
