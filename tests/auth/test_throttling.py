"""THROTTLE_CLASSES: throttle classes of Django REST framework."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from rest_framework.throttling import AnonRateThrottle, BaseThrottle, UserRateThrottle

from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import ProtocolError
from mcp_transport.rate_limits import build_throttle
from tests.support.client import SessionClient, send, send_sessionless
from tests.support.project import Serve, fresh_endpoint, serve

__all__ = ["fresh_endpoint", "serve"]

SCOPED = "rest_framework.throttling.ScopedRateThrottle"
ADD = {"name": "none", "arguments": {}}


class TwoAMinute(UserRateThrottle):  # type: ignore[misc]
    rate = "2/min"


class OneAnonymous(AnonRateThrottle):  # type: ignore[misc]
    rate = "1/min"


class Refuses(BaseThrottle):  # type: ignore[misc]
    """Refuses everything, and records what it was asked with."""

    asked: list[tuple[Any, Any, int]] = []  # noqa: RUF012
    seconds: float | None = None

    def allow_request(self, request: Any, view: Any) -> bool:
        self.asked.append((request, view, threading.get_ident()))
        return False

    def wait(self) -> float | None:
        return self.seconds


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    cache.clear()
    Refuses.asked.clear()


async def statuses(serve: Serve, count: int, **options: Any) -> list[int]:
    return [(await send_sessionless(serve(), "tools/call", ADD, **options)).status for _ in range(count)]


def named(*kinds: str) -> dict[str, Any]:
    return {"THROTTLE_CLASSES": [kind if "." in kind else f"{__name__}.{kind}" for kind in kinds]}


async def test_a_request_beyond_the_rate_of_a_class_gets_429(settings: Any, serve: Serve) -> None:
    settings.MCP_TRANSPORT = named("TwoAMinute")
    assert await statuses(serve, 2) == [200, 200]
    answer = await send_sessionless(serve(), "tools/call", ADD, id=7)
    assert (answer.status, answer.json["error"]["code"]) == (429, -32603)
    data = answer.json["error"]["data"]
    assert (data["limit"], data["key"], data["retryable"]) == ("THROTTLE_CLASSES", "throttle", True)
    assert 25_000 < data["retryAfterMs"] <= 60_000
    assert int(answer.headers["retry-after"]) * 1000 >= data["retryAfterMs"]


async def test_users_and_addresses_are_told_apart_and_a_header_is_not_believed(settings: Any, serve: Serve) -> None:
    settings.MCP_TRANSPORT = named("TwoAMinute", "OneAnonymous")
    one, other = User(pk=1, username="ann"), User(pk=2, username="bob")
    for user in (one, other):
        assert await statuses(serve, 3, user=user) == [200, 200, 429]
    assert await statuses(serve, 2, peer="192.0.2.1") == [200, 429]
    assert await statuses(serve, 1, peer="192.0.2.1", headers={"x-forwarded-for": "192.0.2.77"}) == [429]
    assert await statuses(serve, 1, peer="192.0.2.2") == [200]


async def test_scoped_throttles_have_the_scope_mcp(settings: Any, serve: Serve, monkeypatch: Any) -> None:
    monkeypatch.setattr("rest_framework.throttling.ScopedRateThrottle.THROTTLE_RATES", {"mcp": "1/min"})
    settings.MCP_TRANSPORT = named(SCOPED)
    assert await statuses(serve, 2) == [200, 429]


async def test_get_is_throttled_and_delete_is_not(settings: Any, serve: Serve) -> None:
    settings.MCP_TRANSPORT = named("Refuses")
    headers: dict[str, str | None] = {"mcp-session-id": "x", "mcp-protocol-version": "2025-11-25"}
    assert (await send(serve(), "GET", headers=headers)).status == 429
    assert (await send(serve(), "DELETE", headers=headers)).status == 404
    assert (await send(serve(), "OPTIONS")).status == 204


@pytest.mark.parametrize(("seconds", "expected"), [(None, "1"), (2.5, "3"), (0, "1")])
async def test_a_class_that_says_not_how_long_gets_a_second(
    settings: Any, serve: Serve, monkeypatch: Any, seconds: float | None, expected: str
) -> None:
    monkeypatch.setattr(Refuses, "seconds", seconds)
    settings.MCP_TRANSPORT = named("Refuses")
    answer = await send_sessionless(serve(), "tools/call", ADD)
    assert answer.headers["retry-after"] == expected


async def test_classes_see_a_request_of_rest_framework_in_a_thread(settings: Any) -> None:
    user = User(pk=3, username="ann")
    settings.MCP_TRANSPORT = named("Refuses")
    from mcp_transport.protocol.headers import Headers
    from mcp_transport.protocol.http import HTTPRequest

    request = HTTPRequest(method="POST", headers=Headers([("Host", "testserver")]), path="/mcp", peer="192.0.2.9")
    throttle = build_throttle()
    assert throttle is not None
    with pytest.raises(ProtocolError) as refused:
        await throttle(request, Principal("django", "3", user=user))
    assert refused.value.status == 429
    [(seen, view, thread)] = Refuses.asked
    assert (seen.user, seen.auth, seen.method, seen.META["REMOTE_ADDR"]) == (user, None, "POST", "192.0.2.9")
    assert (view.throttle_scope, thread != threading.get_ident()) == ("mcp", True)


async def test_without_the_setting_nothing_is_throttled(settings: Any) -> None:
    settings.MCP_TRANSPORT = {}
    assert build_throttle() is None


async def test_a_call_in_a_session_gets_200_so_that_no_client_gives_its_session_up(
    settings: Any, serve: Serve, monkeypatch: Any
) -> None:
    settings.MCP_TRANSPORT = named("TwoAMinute")
    client = SessionClient(serve())
    await client.open()  # `initialize` and `notifications/initialized`
    answer = await client.call("none")
    assert (answer.status, answer.json["error"]["data"]["limit"]) == (200, "THROTTLE_CLASSES")
    assert int(answer.headers["retry-after"]) > 25


async def test_a_request_that_is_refused_for_another_reason_is_not_counted(settings: Any, serve: Serve) -> None:
    settings.MCP_TRANSPORT = named("Refuses")
    assert (await send(serve(), raw=b"not JSON")).status == 400
    assert Refuses.asked == []
