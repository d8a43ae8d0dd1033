"""The attacks, by what they abuse; each enters itself into the table."""

from tests.attack.attacks import bodies, callers, handlers, headers, sessions

__all__ = ["bodies", "callers", "handlers", "headers", "sessions"]
