"""The access rule of a tool, resource or prompt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mcp_transport.domain.principal import Principal

__all__ = ["AccessRule"]


@dataclass(frozen=True, slots=True)
class AccessRule:
    """The requirements for a caller of a declaration."""

    scopes: frozenset[str] = frozenset()
    """The scopes that the caller must have; a caller without them gets an error that names them."""
    permits: Callable[[Principal], Awaitable[bool]] | None = None
    """Returns whether a caller may see the declaration; for other callers it does not exist."""
