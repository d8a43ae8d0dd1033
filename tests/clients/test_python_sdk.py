"""The official Python SDK's client, 2.x, in both eras."""

from __future__ import annotations

import sys

import pytest

from tests.clients.conftest import DRIVERS
from tests.clients.contract import Drive, SessionfulContract, SessionlessContract, driver

DRIVER = str(DRIVERS / "python_sdk.py")


class TestByDefault(SessionlessContract):
    """The client asks `server/discover` and so comes to 2026-07-28 by itself."""

    @pytest.fixture
    def client(self) -> Drive:
        return driver(sys.executable, DRIVER, mode="auto")


class TestWithSession(SessionfulContract):
    """`mode="legacy"` is the only way this client gets a session from a server that has both eras."""

    @pytest.fixture
    def client(self) -> Drive:
        return driver(sys.executable, DRIVER, mode="legacy")
