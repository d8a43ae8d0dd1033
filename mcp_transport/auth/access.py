"""Access rules of declarations: Django permissions, OAuth scopes and `visible` functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from mcp_transport.domain.access_rule import AccessRule
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import DefinitionError
from mcp_transport.threads import call_function, in_thread
from mcp_transport.validation import is_scope

__all__ = ["Visible", "access_rule"]

Visible = Callable[[Principal], bool | Awaitable[bool]]
"""Returns whether a caller may see a declaration; a synchronous one runs in a thread and may use the database."""


def access_rule(permission: str | Sequence[str], scopes: Sequence[Any], visible: Visible | None) -> AccessRule | None:
    """Build the access rule of a declaration; return None if everybody may use it.

    Raises:
        DefinitionError: a permission is not "app_label.codename", a scope is invalid, or `visible` is not callable.
    """
    for option, names in (("permission", permission), ("scopes", scopes)):
        if not isinstance(names, Iterable):
            raise DefinitionError(f"{option} must be a list of strings, got {names!r}")
    permissions: tuple[Any, ...] = (permission,) if isinstance(permission, str) else tuple(permission)
    for name in permissions:
        if not isinstance(name, str) or not all(name.partition(".")):
            raise DefinitionError(f"permission must be like 'shop.view_order', got {name!r}")
    if isinstance(scopes, str) or not all(map(is_scope, scopes)):
        raise DefinitionError(f"scopes must be a list of names without spaces or quotes, got {scopes!r}")
    if visible is not None and not callable(visible):
        raise DefinitionError(f"visible must be a function that takes the principal, got {visible!r}")
    if not permissions and not scopes and visible is None:
        return None
    return AccessRule(frozenset(scopes), _check(permissions, visible) if permissions or visible is not None else None)


def _check(permissions: tuple[str, ...], visible: Visible | None) -> Callable[[Principal], Awaitable[bool]]:
    async def permits(principal: Principal) -> bool:
        if permissions and not await in_thread(lambda: _has_permissions(principal.user, permissions)):
            return False
        return visible is None or await _is_visible(visible, principal)

    return permits


def _has_permissions(user: Any, permissions: tuple[str, ...]) -> bool:
    return user is not None and user.has_perms(permissions)


async def _is_visible(visible: Visible, principal: Principal) -> bool:
    """Call a `visible` function. Raises: TypeError: it did not return a bool, so nothing is permitted."""
    answer = await call_function(visible, principal)
    if not isinstance(answer, int | None):
        raise TypeError(f"visible must return True or False, got {type(answer).__name__}")
    return bool(answer)
