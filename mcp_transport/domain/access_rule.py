"""What the use of one tool, resource or prompt requires of its caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mcp_transport.domain.principal import Principal

__all__ = ["AccessRule"]


@dataclass(frozen=True, slots=True)
class AccessRule:
    """The requirements of one declaration."""

    scopes: frozenset[str] = frozenset()
    """Scopes that the caller must have; a caller without them gets an error that names them."""
    permits: Callable[[Principal], Awaitable[bool]] | None = None
    """Whether the declaration is visible to a caller; for other callers it does not exist."""
