"""What the tests of authentication share: an authorization server, a user, an empty registry of tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.auth.issuer import AuthServer, auth_server
from tests.support.endpoint import build_endpoint, clock, gate
from tests.support.kernel import fast
from tests.support.project import declarations, fresh_endpoint

__all__ = ["build_endpoint", "clock", "declarations", "fast", "fresh_endpoint", "gate"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AuthServer]:
    """An authorization server on this machine, which no proxy stands before."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with auth_server() as running:
        yield running


@pytest.fixture
def ann(transactional_db: None, settings: Any) -> User:
    """A user whom threads find, too."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the others are slow on purpose
    return User.objects.create_user("ann", password="a password")
