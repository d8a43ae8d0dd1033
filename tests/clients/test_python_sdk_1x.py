"""The official Python SDK's client 1.x, which only supports sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import DRIVERS
from tests.clients.contract import Drive, SessionfulContract, driver


class TestPythonSdk1x(SessionfulContract):
    @pytest.fixture
    def client(self, python_1x: Path) -> Drive:
        return driver(str(python_1x), str(DRIVERS / "python_sdk_1x.py"))
