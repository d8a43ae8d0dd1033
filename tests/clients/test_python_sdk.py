"""The official Python SDK's client 2.x, session-based and sessionless.

It resumes a stream that was cut once. When the resumed stream is cut as well, it asks from where it asked
before instead of from the last event it got (2.3.0 and 1.30.0: `_handle_reconnection` passes on the old
`last_event_id` after an exception), so it sees events twice, and gives up after the second such cut.
"""

from __future__ import annotations

import sys

import pytest

from tests.clients.contract import Drive, SessionfulContract, SessionlessContract, driver

DRIVER = (sys.executable, "-m", "tests.clients.drivers.python_sdk")


class TestByDefault(SessionlessContract):
    """The client negotiates 2026-07-28 by `server/discover`."""

    @pytest.fixture
    def client(self) -> Drive:
        return driver(*DRIVER, mode="auto")


class TestWithSession(SessionfulContract):
    """With `mode="legacy"` this client opens a session on a server that supports both."""

    @pytest.fixture
    def client(self) -> Drive:
        return driver(*DRIVER, mode="legacy")
