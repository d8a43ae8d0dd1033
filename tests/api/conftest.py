"""Operators of each kind, and sessions in a cache that processes share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache, caches
from django.urls import URLResolver, get_resolver
from rest_framework.test import APIClient

from mcp_transport import bootstrap
from mcp_transport.api.base import OperatorView
from mcp_transport.domain.session import Session, session_key
from mcp_transport.domain.session_query import SessionQuery
from tests.support.backends import index_of
from tests.support.project import declarations, fresh_endpoint
from tests.support.project_clients import open_session, status_of_ping
from tests.support.redis.server import RedisServer

__all__ = ["declarations", "fresh_endpoint", "open_session", "status_of_ping"]

ROOT = "/mcp-api/"
PERMISSIONS = {
    "view": "view_session",
    "change": "change_session",
    "delete": "delete_session",
    "payloads": "view_mcp_payloads",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mount the API for these tests alone."""
    for item in items:
        if "tests/api/" in item.path.as_posix():
            item.add_marker(pytest.mark.urls("tests.support.api_urls"))


@pytest.fixture(autouse=True)
def nobody_was_counted() -> None:
    """Forget how often users have asked."""
    cache.clear()


@pytest.fixture
def shared_cache(settings: Any, tmp_path: Any) -> None:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path), "OPTIONS": {"MAX_ENTRIES": 10_000}}}


@pytest.fixture
def permissions(db: None) -> dict[str, Permission]:
    """The permissions on sessions, by what they allow."""
    kind, _ = ContentType.objects.get_or_create(app_label="mcp_transport", model="session")
    return {
        name: Permission.objects.get_or_create(codename=codename, content_type=kind)[0]
        for name, codename in PERMISSIONS.items()
    }


Operator = Callable[..., APIClient]


@pytest.fixture
def operator(permissions: dict[str, Permission]) -> Operator:
    """Make a client of a user with some permissions, who is no member of the staff."""

    def make(*names: str, **members: Any) -> APIClient:
        user = User.objects.create_user(f"user{User.objects.count()}", **members)
        user.user_permissions.add(*(permissions[name] for name in names))
        client = APIClient()
        client.force_authenticate(user)
        return client

    return make


@pytest.fixture
def viewer(operator: Operator) -> APIClient:
    return operator("view")


@pytest.fixture
def superuser() -> APIClient:
    """A client of a superuser, for whom no database is asked."""
    client = APIClient()
    client.force_authenticate(User(pk=9999, username="root", is_superuser=True))
    return client


@pytest.fixture
def challenging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a scheme that callers can be asked for, as a project's defaults may."""
    from rest_framework.authentication import BasicAuthentication

    monkeypatch.setattr(OperatorView, "authentication_classes", [BasicAuthentication])


@async_to_sync
async def store(*sessions: Session, subscriptions: Sequence[str] = ()) -> None:
    """Put records into the project's backend, each with the same subscriptions."""
    endpoint = bootstrap.endpoint()
    for session in sessions:
        await endpoint.backend.sessions.open(session)
        for uri in subscriptions:
            assert await endpoint.backend.sessions.subscribe(session.key, uri, True, 10, 1000)
    # Has what was opened written to the index, where there is one.
    await index_of(endpoint.backend).page(0, 1, SessionQuery(text="nobody"))
    await endpoint.pool.disconnect_if_idle()


def record(number: int, **members: Any) -> Session:
    """Return a session; the higher its number, the later it was seen."""
    now = 4_000_000_000.0  # long after these tests, so that nothing expires
    defaults: dict[str, Any] = {
        "key": session_key(str(number)),
        "protocol_version": "2025-11-25",
        "client_info": {"name": "desk", "version": "1"},
        "created": now,
        "last_seen": now + number,
        "ends": now + 1_000_000,
    }
    return Session(**{**defaults, **members})


def ask(client: APIClient, method: str, path: str) -> Any:
    """Send a request with the body that the one route which reads a body needs."""
    content = '{"request_id": 1}' if method == "POST" else ""
    return client.generic(method, ROOT + path, content, "application/json")


def pages(client: APIClient, query: str) -> list[list[str]]:
    """Return the keys of sessions on each page, from the first to the last."""
    found, link = [], f"{ROOT}sessions/?{query}"
    while link:
        page = client.get(link).json()
        found.append([item["key"] for item in page["results"]])
        link = page["next"]
    return found


def routes() -> Iterator[tuple[str, Any]]:
    """Yield the path and the view of each route."""
    [mount] = get_resolver("tests.support.api_urls").url_patterns
    assert isinstance(mount, URLResolver)
    for route in mount.url_patterns:
        view: Any = route.callback
        yield "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(route.pattern)), view.view_class


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def sessions_in_redis(redis: RedisServer, settings: Any) -> Iterator[None]:
    """Have sessions kept in an empty Redis; requests are counted elsewhere, which needs rights of its own."""
    redis.cli("flushall")
    use_redis(settings, redis)
    yield
    caches.close_all()


def use_redis(settings: Any, redis: RedisServer) -> None:
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{redis.url}/0"}
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, "mcp": cache}
    settings.MCP_TRANSPORT = {"CACHE": "mcp"}
