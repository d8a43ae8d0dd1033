"""The attacks, by what they abuse; each enters itself into the table."""

from tests.attack.attacks import bodies, callers, crowds, handlers, headers, sessions

__all__ = ["bodies", "callers", "crowds", "handlers", "headers", "sessions"]
