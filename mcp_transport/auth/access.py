"""What a declaration asks of whoever uses it: Django's permissions, scopes, or a function's word."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from mcp_transport.domain.access_rule import AccessRule
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import DefinitionError
from mcp_transport.threads import in_thread

__all__ = ["Visible", "rule"]

Visible = Callable[[Principal], bool | Awaitable[bool]]
"""Says whether there is something for a caller; a synchronous one runs in a thread and may use the database."""


def rule(permission: str | Sequence[str], scopes: Sequence[Any], visible: Visible | None) -> AccessRule | None:
    """Build the rule that a declaration stands for; None if anybody may use it.

    Raises:
        DefinitionError: a permission is not written as Django writes it, a scope is none, `visible` no function.
    """
    for option, names in (("permission", permission), ("scopes", scopes)):
        if not isinstance(names, Iterable):
            raise DefinitionError(f"{option} must be a list of texts, got {names!r}")
    permissions: tuple[Any, ...] = (permission,) if isinstance(permission, str) else tuple(permission)
    for name in permissions:
        if not isinstance(name, str) or not all(name.partition(".")):
            raise DefinitionError(f"permission must look like 'shop.view_order', got {name!r}")
    if isinstance(scopes, str) or not all(isinstance(scope, str) and _is_scope(scope) for scope in scopes):
        raise DefinitionError(f"scopes must be a list of names without blanks and quotes, got {scopes!r}")
    if visible is not None and not callable(visible):
        raise DefinitionError(f"visible must be a function of the principal, got {visible!r}")
    if not permissions and not scopes and visible is None:
        return None
    return AccessRule(
        frozenset(scopes), _permits(permissions, visible) if permissions or visible is not None else None
    )


def _is_scope(text: str) -> bool:
    """Tell whether a text is a scope token (RFC 6749, 3.3)."""
    return bool(text) and all("!" <= character <= "~" and character not in '"\\' for character in text)


def _permits(permissions: tuple[str, ...], visible: Visible | None) -> Callable[[Principal], Awaitable[bool]]:
    async def permits(principal: Principal) -> bool:
        if permissions and not await in_thread(lambda: _has(principal.user, permissions)):
            return False
        return visible is None or await _sees(visible, principal)

    return permits


def _has(user: Any, permissions: tuple[str, ...]) -> bool:
    return user is not None and user.has_perms(permissions)


async def _sees(visible: Visible, principal: Principal) -> bool:
    """Ask a function. Raises: TypeError for an answer that is neither yes nor no: it permits nothing."""
    if inspect.iscoroutinefunction(visible):
        seen = await visible(principal)
    else:
        seen = await in_thread(lambda: visible(principal))
        if inspect.isawaitable(seen):  # a wrapper of a coroutine function, or an object that is called like one
            seen = await seen
    if not isinstance(seen, int | None):
        raise TypeError(f"visible must return True or False, got {type(seen).__name__}")
    return bool(seen)
