"""What operators look at while something else stands under every key: pages, the REST API, numbers, commands."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from mcp_transport.domain.session import session_key
from tests.garbage.stage import Stage
from tests.garbage.values import Put, odd_contents, of_each_type
from tests.support.redis.server import RedisServer
from tests.support.visits import LIST, elsewhere

pytestmark = pytest.mark.urls("tests.garbage.urls")
API = "/mcp-api/"
PUTS: list[tuple[str, Put]] = [*of_each_type(""), *list(odd_contents("string", None))[:4]]


@pytest.fixture
def poisoned(request: pytest.FixtureRequest, server: RedisServer, made: Stage) -> None:
    """Have the same stand under each key but those of the session of `bob`, and those that nodes mend at once."""
    with redis.Redis.from_url(server.admin_url) as store:
        for key in list(store.scan_iter()):
            if session_key(made.bob.session_id).encode() not in key:
                store.delete(key)
                request.param(store, key.decode())


@pytest.fixture
def boss(transactional_db: None, client: Client) -> Client:
    cache.clear()  # which counts how often operators have asked
    client.force_login(User.objects.create_superuser("boss"))
    return client


async def status_of(boss: Client, url: str) -> int:
    status: int = (await elsewhere(boss.get, url)).status_code
    return status


@pytest.mark.parametrize("poisoned", [put for _, put in PUTS], ids=[name for name, _ in PUTS], indirect=True)
async def test_operators_see_what_is_left(made: Stage, poisoned: None, boss: Client) -> None:
    key, bob = session_key(made.ann.session_id), session_key(made.bob.session_id)
    for query in ("", "?q=test", "?user=ann", "?state=busy", "?o=created", f"?node={made.node}"):
        assert await status_of(boss, LIST + query) == 200, query
    for page in ("dashboard/", "dashboard/live/", f"{bob}/change/", f"{bob}/live/", f"{key}/live/"):
        assert await status_of(boss, LIST + page) == 200, page
    assert await status_of(boss, f"{LIST}{key}/change/") == 302  # back to the list, which says that it may be over
    api = APIClient()
    api.force_authenticate(User(pk=9999, username="root", is_superuser=True))
    for place in ("sessions/", "sessions/?user=ann", "overview/", "metrics/", "nodes/", f"sessions/{bob}/"):
        assert (await elsewhere(api.get, API + place)).status_code == 200, place
    for place in (f"sessions/{key}/", f"sessions/{key}/messages/"):
        assert (await elsewhere(api.get, API + place)).status_code == 404, place
    assert (await elsewhere(api.delete, f"{API}sessions/{key}/")).status_code == 404
    for path in ("/metrics", "/readyz"):
        assert await status_of(boss, path) == 200, path
    await elsewhere(call_command, "mcp_sessions", "list", stdout=StringIO())
    await made.check_others()


async def test_readiness_says_nothing_of_the_store_to_anybody(
    made: Stage, server: RedisServer, boss: Client, caplog: Any
) -> None:
    with redis.Redis.from_url(server.admin_url) as store:
        store.execute_command("ACL SETUSER", "mcp", "-exists")
        try:
            assert await made.one.pool.unready_reason() == "the session store cannot be reached"
        finally:
            store.execute_command("ACL SETUSER", "mcp", "+exists")
        store.execute_command("ACL LOG", "RESET")
    assert "no permissions to run the 'exists' command" in caplog.text
    assert await made.one.pool.unready_reason() == ""
