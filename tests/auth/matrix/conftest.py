"""The stage: an issuer, everybody's credentials, and an endpoint built from settings, with Ann at work in it.

Refused requests change nothing, so a module full of them shares one stage, on one event loop; each of them looks
whether Ann's things are as they were, and at the end these must come to a good end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.test import override_settings
from django.urls import include, path

from mcp_transport.bootstrap import endpoint
from tests.auth.issuer import auth_server
from tests.auth.matrix import scene
from tests.auth.matrix.people import People, anns
from tests.auth.matrix.people import people as everybody
from tests.auth.matrix.project import STORES, TABLES, declarations
from tests.auth.matrix.scene import Scene
from tests.support.http.inprocess import Direct
from tests.support.served import application

urlpatterns = [path("mcp", include("mcp_transport.urls"))]

NEVER = 3600.0
_CALM = {"SSE_AFTER_SECONDS": NEVER, "KEEPALIVE_SECONDS": NEVER, "CLIENT_REPLY_TIMEOUT_SECONDS": NEVER}
"""Nothing happens because time passes."""


@pytest.fixture(autouse=True)
def fresh_endpoint() -> None:
    """Keep the endpoint from test to test: the stage builds it and takes it away."""


@pytest.fixture(scope="module")
def people(django_db_setup: None, django_db_blocker: Any) -> Iterator[People]:
    """Create everybody, once a module."""
    with django_db_blocker.unblock(), auth_server() as issuer, everybody(issuer) as made:
        issuer.headers["Connection"] = "close"  # connections end with their loop, which outlives a stage
        yield made


class Stage:
    """An endpoint, and ways to call it."""

    def __init__(self, people: People) -> None:
        self.people = people
        self.table = ""
        self._carriers: dict[str, Direct] = {}
        self._untouched: Scene | None = None

    async def at_work(self, kind: str) -> Scene:
        """Return Ann at work as the last test has left her; where it failed to `leave` her so, she begins anew."""
        scene, self._untouched = self._untouched, None
        return scene or await self.begin(kind)

    def leave(self, scene: Scene) -> None:
        """Say that a test has changed nothing."""
        self._untouched = scene

    async def begin(self, kind: str) -> Scene:
        """Let Ann begin with one kind of her credentials; she uses the mount, whatever the others use."""
        return await scene.begin(self.carrier("mounted"), anns(self.people, kind))

    def carrier(self, adapter: str) -> Direct:
        """Return what calls an adapter."""
        if adapter not in self._carriers:
            self._carriers[adapter] = Direct(application(adapter))
        return self._carriers[adapter]

    async def clear(self) -> None:
        """See that Ann's work comes to a good end; end everything."""
        if self._untouched is not None:
            await self._untouched.goes_on()
        for carrier in self._carriers.values():
            await carrier.close()
        await endpoint().pool.stop()


@asynccontextmanager
async def staged(people: People, table: str, store: str = "memory") -> AsyncIterator[Stage]:
    """Build an endpoint from one of the tables of settings; afterwards nothing may run on."""
    chosen = {**TABLES[table](people.issuer), "BACKEND": STORES[store], **_CALM}
    before = asyncio.all_tasks()
    with (
        pytest.MonkeyPatch.context() as patch,
        override_settings(ROOT_URLCONF=__name__, MCP_TRANSPORT=chosen),
    ):
        patch.setattr("mcp_transport.server.declared", declarations())
        made = Stage(people)
        try:
            yield made
        finally:
            await made.clear()
    left = [repr(task) for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
    assert not left, left
