"""The served project: in this process, and behind each server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from django.db import connections
from django.test import override_settings

from mcp_transport import tool
from mcp_transport.asgi import mount
from mcp_transport.bootstrap import endpoint
from mcp_transport.declarations import Declarations
from tests.support.application_servers import ROOT, Pool
from tests.support.aws_lambda.carrier import Invoked
from tests.support.http.carrier import Carrier
from tests.support.http.inprocess import Direct, Synchronous
from tests.support.http.network import Network
from tests.support.preloaded import run
from tests.support.site import settings as site
from tests.support.site.tools import TOOLS


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the database of the served project; return its path."""
    return tmp_path_factory.mktemp("site") / "site.sqlite3"


@pytest.fixture(scope="session")
def cookie(database: Path) -> str:
    """Fill the database; return the cookie of a logged-in session."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": site.__name__, "SITE_DATABASE": str(database)}
    command = [sys.executable, "-m", "tests.support.site.prepare"]
    made = run(command, cwd=ROOT, env=environment, timeout=60)
    assert made.returncode == 0, made.stderr
    return f"sessionid={made.stdout}"


@pytest.fixture(scope="session")
def servers(database: Path, cookie: str) -> Iterator[Pool]:
    """Start servers when they are asked for; at the end none may have had an accident."""
    pool = Pool(database)
    yield pool
    assert not (accidents := pool.stop()), "\n\n".join(f"{name}:\n{output}" for name, output in accidents.items())


LAMBDA = "lambda-"
"""Before the name of a front door, in the name of an adapter."""

Connect = Callable[[str, str], Carrier]
InProcess = Callable[[str], Carrier]


@pytest_asyncio.fixture
async def connect(servers: Pool) -> AsyncIterator[Connect]:
    """Connect to a server; what is left open is cut at the end."""
    open_ones: list[Carrier] = []

    def connect(server: str, adapter: str) -> Carrier:
        open_ones.append(Network(servers.get(server, adapter).port))
        return open_ones[-1]

    yield connect
    for carrier in open_ones:
        await carrier.close()


@pytest.fixture
def project(transactional_db: None, project_without_database: None) -> None:
    """Make this process serve the project, without leaving its tools behind."""


@pytest.fixture(scope="session")
def site_declarations() -> Declarations:
    """Declare the tools of the project once."""
    empty = Declarations()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcp_transport.server.declared", empty)
        for function in TOOLS:
            tool(function)
    return empty


@pytest.fixture
def project_without_database(monkeypatch: pytest.MonkeyPatch, site_declarations: Declarations) -> Iterator[None]:
    """Make this process serve the project to tests that do not come to its database, whose flush takes long."""
    monkeypatch.setattr("mcp_transport.server.declared", site_declarations.copy())
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    with override_settings(
        ALLOWED_HOSTS=[*site.ALLOWED_HOSTS, "testserver"],
        MCP_TRANSPORT=site.MCP_TRANSPORT,
        MIDDLEWARE=site.MIDDLEWARE,
        ROOT_URLCONF=site.ROOT_URLCONF,
    ):
        yield


@pytest_asyncio.fixture
async def in_process(project_without_database: None) -> AsyncIterator[InProcess]:
    """Call an adapter in this process; afterwards nothing of it may run on."""
    open_ones: list[Carrier] = []
    before = asyncio.all_tasks()

    def call(adapter: str) -> Carrier:
        if adapter.startswith(LAMBDA):
            open_ones.append(Invoked(adapter.removeprefix(LAMBDA)))
        else:
            open_ones.append(Synchronous() if adapter == "wsgi" else Direct(application(adapter)))
        return open_ones[-1]

    yield call
    for carrier in open_ones:
        await carrier.close()
    await endpoint().pool.stop()
    left = [repr(task) for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
    assert not left, left


def application(adapter: str) -> Any:
    """Build one of the project's ASGI applications anew, since its middleware is chosen when it is built."""
    from django.core.handlers.asgi import ASGIHandler

    return mount(ASGIHandler()) if adapter == "mounted" else ASGIHandler()
