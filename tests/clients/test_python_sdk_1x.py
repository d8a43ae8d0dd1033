"""The official Python SDK's client 1.x, which only supports sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import DRIVERS
from tests.clients.contract import PRODUCT, Drive, SessionfulContract, driver
from tests.clients.refusing_proxy import OK, TOO_MANY, UNAVAILABLE, Refusal, RefusingProxy, stream


class TestPythonSdk1x(SessionfulContract):
    refusals = (OK, stream)

    @pytest.fixture
    def client(self, python_1x: Path) -> Drive:
        return driver(str(python_1x), str(DRIVERS / "python_sdk_1x.py"))

    @pytest.mark.parametrize("refusal", [TOO_MANY, UNAVAILABLE], ids=["429", "503"])
    async def test_does_not_survive_a_status_above_400(self, client: Drive, server: str, refusal: Refusal) -> None:
        """Its transport raises `httpx.HTTPStatusError`, which ends all calls, and the session is not deleted.

        This is why requests in a session are refused with status 200.
        """
        proxy = RefusingProxy(server, {"tools/call": [refusal]})
        async with proxy.serve() as url:
            with pytest.raises(AssertionError, match="HTTPStatusError"):
                await client(url, PRODUCT, PRODUCT)
        assert proxy.kinds.count("tools/call") == 1
        assert "DELETE" not in proxy.kinds
