"""Who a request acts for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ANONYMOUS", "Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: who says so, and who it is.

    Sessions, streams and replies belong to `binding`, not to the credential that proved it, so a
    refreshed token keeps its session (2025-11-25, security best practices, "Session Hijacking").
    """

    issuer: str = ""
    subject: str = ""
    user: Any = None
    """The framework's user object, handed to tools as it is."""
    name: str = ""
    """What an operator calls this caller."""

    @property
    def binding(self) -> str:
        """Return what is stored with a session to recognise its owner; empty for an anonymous caller."""
        return f"{self.issuer}\n{self.subject}" if self.subject else ""


ANONYMOUS: Final = Principal()
