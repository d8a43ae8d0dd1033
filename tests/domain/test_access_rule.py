from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from mcp_transport.domain.access_rule import AccessRule


def test_a_rule_requires_nothing_by_default() -> None:
    assert (AccessRule().scopes, AccessRule().permits) == (frozenset(), None)


def test_a_rule_cannot_be_changed_once_it_is_declared() -> None:
    with pytest.raises(FrozenInstanceError):
        AccessRule().scopes = frozenset({"orders:read"})  # type: ignore[misc]
