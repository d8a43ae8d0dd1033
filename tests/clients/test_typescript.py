"""The official TypeScript clients: @modelcontextprotocol/client 2.x and @modelcontextprotocol/sdk 1.x."""

from __future__ import annotations

import pytest

from tests.clients.conftest import NodeProject
from tests.clients.contract import Drive, SessionfulContract, SessionlessContract, driver

pytestmark = pytest.mark.npm


class TypeScriptContract(SessionfulContract):
    """Tests that the Python clients fail, see `test_python_sdk.py`."""

    async def test_resumes_a_stream_cut_again_and_again(self, client: Drive, server: str) -> None:
        await self.count_through_cuts(client, server, 0, 2, 1)


class TestClientByDefault(TypeScriptContract):
    """Unlike the Python client, this one uses sessions by default."""

    @pytest.fixture
    def client(self, node_project: NodeProject) -> Drive:
        return driver(*node_project.command("typescript_client.mjs"), mode="legacy")


class TestClientNegotiating(SessionlessContract):
    @pytest.fixture
    def client(self, node_project: NodeProject) -> Drive:
        return driver(*node_project.command("typescript_client.mjs"), mode="auto")


class TestSdk1x(TypeScriptContract):
    @pytest.fixture
    def client(self, node_project: NodeProject) -> Drive:
        return driver(*node_project.command("typescript_sdk.mjs"))
