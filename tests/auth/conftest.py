"""What the tests of the engine and of Django's side use, too."""

from __future__ import annotations

from tests.django.conftest import declarations, fresh_endpoint
from tests.engine.conftest import build_endpoint, clock, gate

__all__ = ["build_endpoint", "clock", "declarations", "fresh_endpoint", "gate"]
