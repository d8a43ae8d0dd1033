"""A store that is out, a backend that cannot list, too many requests, and a project without the framework."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache
from django.core.exceptions import ImproperlyConfigured
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

from mcp_transport.api.base import OperatorThrottle
from mcp_transport.backends.base import Backend
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import BackendError
from tests.api.conftest import Operator, ask, record, store

KEY = "A" * 26
ASKING = [
    ("GET", "sessions/"),
    ("GET", f"sessions/{KEY}/"),
    ("GET", f"sessions/{KEY[:10]}/"),
    ("DELETE", f"sessions/{KEY}/"),
    ("GET", f"sessions/{KEY}/calls/"),
    ("POST", f"sessions/{KEY}/calls/cancel/"),
    ("GET", f"sessions/{KEY}/messages/"),
    ("GET", "overview/"),
    ("GET", "metrics/"),
    ("GET", "nodes/"),
]


class Out(MemoryBackend):
    """A backend whose store is gone."""

    async def page(self, *args: Any) -> Any:
        raise BackendError("redis at 10.0.0.1 did not answer")

    get = close = nodes = overview = metrics = page  # type: ignore[assignment]


def unlisted(policy: Policy, now: Callable[[], float]) -> Backend:
    """Build a backend without a list."""
    return replace(Backend.of(MemoryBackend(policy, now)), index=None)


class OutCache(BaseCache):
    """A cache that does not answer."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("10.0.0.1")

    get_many = get


@pytest.fixture
def out(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": f"{__name__}.Out"}


@pytest.mark.parametrize(("method", "path"), ASKING)
def test_store_that_is_out_is_503_and_says_no_more(
    method: str, path: str, out: None, superuser: APIClient, caplog: Any
) -> None:
    answer = ask(superuser, method, path)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json() == {"detail": "The session store does not answer. Try again."}
    assert "redis at 10.0.0.1 did not answer" in caplog.text


def test_tools_and_schema_need_no_store(out: None, superuser: APIClient) -> None:
    assert [ask(superuser, "GET", path).status_code for path in ("tools/", "schema/")] == [200, 200]


@pytest.mark.parametrize("alias", ["default", "mcp"])
def test_cache_that_is_out_is_503_too(alias: str, settings: Any, superuser: APIClient) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        alias: {"BACKEND": f"{__name__}.OutCache"},
    }
    settings.MCP_TRANSPORT = {"CACHE": alias, "BACKEND": "cache"}
    answer = ask(superuser, "GET", "sessions/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")


@pytest.fixture
def silent(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": f"{__name__}.unlisted"}


@pytest.mark.parametrize(
    ("method", "path"), [ASKING[0], ASKING[2], ("GET", "overview/"), ("DELETE", f"sessions/{KEY[:10]}/")]
)
def test_backend_that_cannot_list_is_501(method: str, path: str, silent: None, superuser: APIClient) -> None:
    answer = ask(superuser, method, path)
    assert answer.status_code == 501
    assert answer.json()["detail"].startswith("The session backend cannot list sessions.")


def test_backend_that_cannot_list_shows_a_session_and_counts_calls(silent: None, superuser: APIClient) -> None:
    assert ask(superuser, "GET", f"sessions/{KEY}/").status_code == 404
    assert ask(superuser, "GET", "metrics/").status_code == 200


def test_backend_of_one_process_answers_for_that_process(settings: Any, superuser: APIClient) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "memory"}
    store(record(1))
    assert ask(superuser, "GET", "sessions/").json()["count"] == 1
    assert ask(superuser, "GET", "overview/").json()["all_processes"] is False
    assert ask(superuser, "GET", "metrics/").json()["all_processes"] is False


# -- throttling ------------------------------------------------------------------------------------------


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Set what the project has under DEFAULT_THROTTLE_RATES."""

    def set_rates(**rates: Any) -> None:
        monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates)

    # Time stands still: no minute begins between two requests.
    monkeypatch.setattr(OperatorThrottle, "timer", lambda self: 1_750_000_000.0)
    yield set_rates


def test_project_without_a_rate_has_a_safe_one(rates: Any, superuser: APIClient, operator: Operator) -> None:
    rates(user=None, anon=None)
    statuses = [ask(superuser, "GET", "tools/").status_code for _ in range(121)]
    assert statuses == [200] * 120 + [429]
    # Routes count together, and users apart.
    refused = ask(superuser, "GET", "nodes/")
    assert (refused.status_code, refused["Retry-After"]) == (429, "60")
    assert ask(operator("view"), "GET", "nodes/").status_code == 200


@pytest.mark.parametrize(("rate", "statuses"), [("2/hour", [200, 200, 429]), (None, [200] * 130)])
def test_project_sets_the_rate_or_none(
    rate: str | None, statuses: list[int], rates: Any, superuser: APIClient
) -> None:
    rates(mcp=rate)
    assert [ask(superuser, "GET", "tools/").status_code for _ in statuses] == statuses


def test_refused_user_is_not_counted(rates: Any, operator: Operator) -> None:
    rates(mcp="1/hour")
    client = operator()
    assert [ask(client, "GET", "tools/").status_code for _ in range(3)] == [403] * 3


# -- without the framework -------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["mcp_transport.api", "mcp_transport.api.urls"])
def test_missing_framework_is_said_at_import(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rest_framework", None)
    for name in [name for name in sys.modules if name.startswith("mcp_transport.api")]:
        monkeypatch.delitem(sys.modules, name)
    said = "mcp_transport.api needs Django REST framework: pip install 'django-mcp-transport[rest]'"
    with pytest.raises(ImproperlyConfigured) as missing:
        importlib.import_module(module)
    assert str(missing.value) == said
