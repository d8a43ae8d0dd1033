"""The official Python SDK's client, 2.x, in both eras.

It resumes a stream that was cut once. When the resumed stream is cut as well, it asks from where it asked
before instead of from the last event it got (2.3.0 and 1.30.0: `_handle_reconnection` passes on the old
`last_event_id` after an exception), so it sees events twice, and gives up after the second such cut.
"""

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
