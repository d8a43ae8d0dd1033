"""Who a request acts for."""

from __future__ import annotations

from collections.abc import Set
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
    scopes: Set[str] | None = frozenset()
    """What the credential was granted; None where scopes do not limit it, as with a login of a person."""

    @classmethod
    def of(cls, binding: str, name: str = "", user: Any = None) -> Principal:
        """Return whom a `binding` stands for; it has no credentials any more, and so no scopes."""
        issuer, _, subject = binding.partition("\n")
        return cls(issuer=issuer, subject=subject, user=user, name=name)

    @property
    def binding(self) -> str:
        """Return what is stored with a session to recognise its owner; empty for an anonymous caller."""
        return f"{self.issuer}\n{self.subject}" if self.subject else ""

    def has_scopes(self, needed: Set[str]) -> bool:
        """Tell whether the credential covers `needed`."""
        return self.scopes is None or self.scopes >= needed


ANONYMOUS: Final = Principal()
