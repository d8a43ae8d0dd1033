"""Sessions to be seen in the admin, and who looks at them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User
from django.test import Client

from mcp_transport import bootstrap
from mcp_transport.consumers import DashboardConsumer, LiveConsumer
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from tests.support.endpoint import gate
from tests.support.project import declarations, fresh_endpoint
from tests.support.tools import Gate
from tests.support.visits import Visitor

__all__ = ["declarations", "fresh_endpoint", "gate"]


@pytest.fixture
def shared_cache(settings: Any, tmp_path: Any) -> None:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path), "OPTIONS": {"MAX_ENTRIES": 10_000}}}


@pytest.fixture
def log_in(client: Client) -> Callable[..., Client]:
    """Log in somebody of the staff who has these permissions, and no others."""

    def enter(*permissions: str) -> Client:
        clerk = User.objects.create_user("clerk", is_staff=True)
        clerk.user_permissions.set(
            Permission.objects.filter(
                content_type__app_label="mcp_transport",
                codename__in=[*permissions, *(f"{name}_session" for name in permissions)],
            )
        )
        client.force_login(clerk)
        return client

    return enter


@pytest.fixture
def open_session() -> Callable[..., Visitor]:
    """Open a session as another process would, which then ends."""

    @async_to_sync
    async def opened(name: Any = "test", user: str = "", **options: Any) -> Visitor:
        visitor = Visitor(bootstrap.endpoint(), name, user, **options)
        await visitor.open()
        await visitor.endpoint.pool.stop()
        assert visitor.key == session_key(visitor.session_id)
        return visitor

    return opened


@pytest.fixture
def boss(transactional_db: None, client: Client) -> Client:
    """Log in somebody who may do all."""
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.fixture
async def endpoint(tools: None, gate: Gate) -> AsyncIterator[Endpoint]:
    """Serve the tools of the test module."""
    served = bootstrap.endpoint()
    yield served
    gate.open.set()
    await served.pool.stop()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the pages look again at once."""
    for kind in (LiveConsumer, DashboardConsumer):
        monkeypatch.setattr(kind, "interval", 0.001)
