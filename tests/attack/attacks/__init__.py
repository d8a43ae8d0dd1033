"""The attacks, by what they abuse; each enters itself into the table."""

from __future__ import annotations

from tests.attack.attacks import bodies, callers, handlers, headers, sessions, streams

__all__ = ["bodies", "callers", "handlers", "headers", "sessions", "streams"]
