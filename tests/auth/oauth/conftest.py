"""The servers, started once for all tests here: each test registers its own client and opens its own sessions."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.auth.oauth.servers import ADAPTERS, AuthorizationServer, ResourceServer, accidents
from tests.support.processes import start_all, stop_all

Servers = dict[str, ResourceServer]


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AuthorizationServer, Servers]]:
    """Start all servers; at the end none may have had an accident."""
    folder = tmp_path_factory.mktemp("oauth")
    authorization = AuthorizationServer(folder)
    authorization.prepare()
    resources = {adapter: ResourceServer(adapter, authorization, folder) for adapter in ADAPTERS}
    started = [authorization, *resources.values()]
    start_all(started)
    yield authorization, resources
    stop_all(started)
    assert not (reported := accidents(*started)), reported


@pytest.fixture(autouse=True)
def quiet_client() -> Iterator[None]:
    """Have the SDK's client not log its session ids, which it does at INFO (mcp 2.3.0).

    It runs in this process, where `nothing_secret_is_logged` cannot tell a client's log from a server's.
    """
    logger = logging.getLogger("mcp.client.streamable_http")
    level = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)


@pytest.fixture
def authorization(processes: tuple[AuthorizationServer, Servers]) -> AuthorizationServer:
    """The authorization server."""
    return processes[0]


@pytest.fixture(params=ADAPTERS)
def resource(processes: tuple[AuthorizationServer, Servers], request: pytest.FixtureRequest) -> ResourceServer:
    """The resource server, behind each adapter."""
    return processes[1][request.param]
