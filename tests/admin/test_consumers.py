"""Who may open the WebSockets of the admin's pages, for how long, and what keeps them quiet."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import Client
from django.utils.translation import gettext

from mcp_transport.admin import live
from mcp_transport.admin.dashboard_options import DashboardOptions
from mcp_transport.consumers import DashboardConsumer, LiveConsumer
from mcp_transport.routing import websocket
from tests.admin.sockets import CLOSED, following, heard, socket
from tests.support.visits import LIST, aside

ROOT = Path(__file__).parents[2]
PLACES = {"session": f"{LIST}{'A' * 26}/live/", "dashboard": f"{LIST}dashboard/live/"}

pytestmark = pytest.mark.usefixtures("transactional_db", "no_waiting")
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


async def opens(client: Client, place: str, **options: Any) -> bool:
    """Tell whether a socket is accepted; one that is not is closed before that."""
    tried = socket(client, place, **options)
    is_open, _ = await tried.connect(5)
    await tried.disconnect()
    return bool(is_open)


STAFF = [([], False), (["delete"], False), (["view_mcp_payloads"], False), (["view"], True), (["change"], True)]


@pytest.mark.parametrize(("permissions", "may"), STAFF, ids=str)
async def test_staff_with_the_permission_to_see(permissions: list[str], may: bool, log_in: Any) -> None:
    clerk = await aside(log_in, *permissions)
    assert [await opens(clerk, place) for place in PLACES.values()] == [may, may]


@each_place
async def test_superusers_and_nobody_else(place: str, client: Client, boss: Client) -> None:
    assert not await opens(Client(), place)
    assert await opens(boss, place)
    assert not await opens(boss, place, origin="http://evil.example"), "no page of another site"
    for change in ({"is_staff": False}, {"is_staff": True, "is_active": False}):
        await User.objects.aupdate(**change)
        assert not await opens(boss, place), "nobody who is not of the staff any more"


async def test_admin_may_be_mounted_anywhere(boss: Client) -> None:
    for prefix in ("", "/back/office"):
        assert await opens(boss, f"{prefix}/mcp_transport/session/dashboard/live/")


@pytest.mark.parametrize("place", ["dashboard/", "a/live/", f"{'A' * 26}/live/x", f"x{'A' * 26}/live/"])
async def test_nothing_else_is_a_socket(place: str, boss: Client) -> None:
    scope = socket(boss, LIST + place).scope
    with pytest.raises(ValueError, match="No route found"):
        await websocket(scope, None, None)


async def test_without_a_login_of_its_own_it_is_closed() -> None:
    tried = WebsocketCommunicator(DashboardConsumer.as_asgi(), "/")
    assert (await tried.connect())[0] is False


async def test_socket_is_closed_in_time_and_not_opened_again_after_the_logout(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveConsumer, "lifetime", 0.01)
    async with following(boss, PLACES["dashboard"]) as opened:
        while (message := await opened.receive_output(5))["type"] != CLOSED:
            pass
        assert message["code"] == 1000
    await aside(boss.logout)
    assert not await opens(boss, PLACES["dashboard"])


async def test_only_what_differs_is_sent(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Queue[None]()
    values: Iterator[dict[str, Any]] = iter(
        [{"n": 1, "cursor": "a"}, {"n": 1, "cursor": "b"}, {"n": 1, "cursor": "c"}, {"n": 2}]
    )

    async def news(options: DashboardOptions) -> dict[str, Any]:
        asked.put_nowait(None)
        return next(values, {"n": 3})

    monkeypatch.setattr(live, "dashboard_update", news)
    async with following(boss, PLACES["dashboard"]) as opened:
        assert [(await heard(opened))["n"] for _ in range(3)] == [1, 2, 3]
        for _ in range(asked.qsize() + 3):
            await asyncio.wait_for(asked.get(), 5)
        assert await opened.receive_nothing(0)


async def test_fault_of_ours_closes_the_socket_and_is_logged(
    boss: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def news(options: DashboardOptions) -> dict[str, Any]:
        raise RuntimeError("broken")

    monkeypatch.setattr(live, "dashboard_update", news)
    async with following(boss, PLACES["dashboard"]) as opened:
        assert await opened.receive_output(5) == {"type": CLOSED, "code": 1011}
    assert "a page could not be kept up to date" in caplog.text


async def test_what_a_page_sends_does_not_matter(boss: Client) -> None:
    async with following(boss, PLACES["dashboard"]) as opened:
        await heard(opened)
        await opened.send_to(text_data="{")
        await opened.send_to(bytes_data=b"\xff")


async def test_looking_ends_with_the_page(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def news(options: DashboardOptions) -> dict[str, Any]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    monkeypatch.setattr(live, "dashboard_update", news)
    async with following(boss, PLACES["dashboard"]):
        await asyncio.wait_for(begun.wait(), 5)
    assert ended.is_set()


async def test_page_is_told_in_its_language(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def news(options: DashboardOptions) -> dict[str, Any]:
        return {"day": gettext("Monday")}

    monkeypatch.setattr(live, "dashboard_update", news)
    for language, told in {"de": "Montag", "en": "Monday", "xx": "Monday", "%00": "Monday"}.items():
        async with following(boss, f"{PLACES['dashboard']}?language={language}") as opened:
            assert await heard(opened) == {"day": told}


@pytest.mark.slow
def test_the_pages_need_no_channels() -> None:
    program = """
import sys
sys.modules["channels"] = None
import django
django.setup()
from django.contrib import admin
from django.urls import reverse
admin.autodiscover()
assert reverse("admin:mcp_transport_session_dashboard_live")
"""
    command = [sys.executable, "-c", program]
    environment = {"DJANGO_SETTINGS_MODULE": "tests.support.settings", "PATH": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)  # noqa: S603
    assert done.returncode == 0, done.stderr
