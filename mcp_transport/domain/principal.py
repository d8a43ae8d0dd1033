"""The caller that a request acts for."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from mcp_transport.protocol.client_address import caller_block

__all__ = ["ANONYMOUS", "Principal"]


@dataclass(frozen=True)
class Principal:
    """An authenticated caller: the issuer and the subject that it names.

    Sessions, streams and replies belong to `binding`, not to the credential, so a refreshed token
    keeps its session (2025-11-25, security best practices, "Session Hijacking").
    """

    issuer: str = ""
    subject: str = ""
    user: Any = None
    """The framework's user object, passed to tools unchanged."""
    name: str = ""
    """The display name for operators."""
    scopes: Set[str] | None = frozenset()
    """The scopes of the credential; None means unrestricted, as for a login session."""

    @classmethod
    def from_binding(cls, binding: str, name: str = "", user: Any = None) -> Principal:
        """Rebuild a principal from its stored `binding`; without a credential it has no scopes."""
        issuer, _, subject = binding.partition("\n")
        return cls(issuer=issuer, subject=subject, user=user, name=name)

    @cached_property
    def binding(self) -> str:
        """Return the identity stored with a session to recognise its owner; empty for an anonymous caller."""
        return f"{self.issuer}\n{self.subject}" if self.subject else ""

    def caller(self, address: str) -> str:
        """Return what counts as one caller for limits: the principal or, if anonymous, the client's network."""
        # Only an IPv6 address is not its own network, and this runs with every call.
        return self.binding or (caller_block(address) if ":" in address else address)

    def has_scopes(self, needed: Set[str]) -> bool:
        """Return whether the credential covers `needed`."""
        return self.scopes is None or self.scopes >= needed


ANONYMOUS: Final = Principal()
