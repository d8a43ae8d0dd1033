"""What a session's page is told while it is open, by polling and by WebSocket: new messages, and no payloads."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client

from mcp_transport import Context, tool
from mcp_transport.consumers import SessionConsumer
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import BackendError
from mcp_transport.operators import service
from tests.admin.sockets import CLOSED, following, heard, socket
from tests.support.tools import Gate
from tests.support.visits import Visitor, aside, page

HOSTILE = "</script><img src=x onerror=alert(1)>"
LOOKS = "viewed the payloads"

Ask = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture
def tools(declarations: Any, gate: Gate) -> None:
    @tool
    async def talk(ctx: Context) -> str:
        await ctx.info(HOSTILE)
        await gate.pass_through()
        await ctx.report_progress(3, 10)
        return HOSTILE


@pytest.fixture
async def visitor(endpoint: Endpoint, gate: Gate) -> Visitor:
    """A client in the middle of a call."""
    visitor = Visitor(endpoint, HOSTILE, "ann")
    await visitor.open()
    await visitor.call("talk", id=HOSTILE)
    await gate.wait(gate.entered)
    return visitor


@pytest.fixture(params=["poll", "socket"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask for what is new, in either way."""

    async def asked(client: Client, visitor: Visitor, cursor: str = "", **values: Any) -> Any:
        place = f"{visitor.url('live')}?{urlencode(values)}"
        if request.param == "poll":
            return (await aside(client.get, place, headers={"X-Cursor": cursor})).json()
        async with following(client, place, cursor) as opened:
            return await heard(opened)

    return asked


def talk(news: dict[str, Any]) -> list[tuple[int, list[str], str | None]]:
    return [(line["order"], line["texts"], line.get("payload")) for line in news["messages"]]


async def test_news_are_told(ask: Ask, boss: Client, visitor: Visitor) -> None:
    news = await ask(boss, visitor)
    facts = dict(news["tables"]["details"])
    assert (facts["Client"], facts["User"], facts["State"]) == (f"{HOSTILE} 1", "ann", "busy")
    assert (news["state"], set(news["moments"])) == (
        {"value": "busy", "label": "busy"},
        {"Created", "Last seen", "Expires"},
    )
    [[id, operation, state, started, node]] = news["tables"]["calls"]
    assert (id, operation, state) == (f'"{HOSTILE}"', "tools/call talk", "running")
    assert node == visitor.endpoint.pool.nodes[0].id
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d CST", started), "with its zone"
    assert news["tables"]["streams"][0][0] == f'tools/call talk "{HOSTILE}"', "named by its call"
    call, opened = news["timeline"]
    assert (call["state"], call["direction"], call["texts"][0]) == ("running", "in", "tools/call talk")
    assert (opened["texts"], opened["direction"]) == (["Session opened"], "")
    [(number, told, payload)] = talk(news)
    assert (number, told[:2], payload) == (1, ["notifications/message", "#1"], None)
    assert told[2] == f'tools/call talk "{HOSTILE}"'
    [message] = news["messages"]
    assert message["direction"] == "out"
    assert message["at"] >= call["at"]
    assert message["time"].endswith(" CST")


async def test_only_what_is_new_is_told_again(ask: Ask, boss: Client, visitor: Visitor) -> None:
    text = page(await aside(boss.get, visitor.url()))
    assert f'data-address="{visitor.url("live")}"' in text
    assert text.count('data-direction="out"') == 1
    [loaded] = re.findall(r'data-cursor="([^"]+)"', text)
    news = await ask(boss, visitor)
    assert len(news["messages"]) == 1
    for cursor in (news["cursor"], loaded):
        assert (await ask(boss, visitor, cursor=cursor))["messages"] == []
    assert len((await ask(boss, visitor, cursor="garbage"))["messages"]) == 1
    await aside(boss.force_login, await User.objects.acreate_superuser("other"))
    assert len((await ask(boss, visitor, cursor=loaded))["messages"]) == 1, "a cursor is one user's"


async def test_a_cursor_in_an_address_is_not_read(ask: Ask, boss: Client, visitor: Visitor) -> None:
    cursor = (await ask(boss, visitor))["cursor"]
    place = f"{visitor.url('live')}?{urlencode({'cursor': cursor})}"
    assert len((await aside(boss.get, place)).json()["messages"]) == 1
    async with following(boss, place) as opened:
        assert len((await heard(opened))["messages"]) == 1


async def test_a_first_message_of_another_kind_is_no_cursor(
    boss: Client, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SessionConsumer, "cursor_timeout", 0.001)
    for message in (None, "{", "[]", "1", '"a"', '{"cursor": 1}', "{}", "[" * 100_000):
        opened = socket(boss, visitor.url("live"))
        assert (await opened.connect())[0]
        if message is not None:  # a page that says nothing is told from the beginning, too
            await opened.send_to(text_data=message)
        assert len((await heard(opened))["messages"]) == 1, message
        for word in ("later", "much later"):
            await opened.send_to(text_data=word)
        await opened.disconnect()


# -- payloads ----------------------------------------------------------------------------------------------


async def test_payload_is_shown_to_who_may_and_asks(ask: Ask, boss: Client, visitor: Visitor) -> None:
    [(_, _, payload)] = talk(await ask(boss, visitor, payloads="1"))
    assert payload is not None
    assert HOSTILE in payload
    for asked in ({}, {"payloads": ""}, {"payloads": "0"}, {"payloads": "yes"}):
        assert talk(await ask(boss, visitor, **asked))[0][2] is None


@pytest.mark.parametrize(
    ("permissions", "shown"), [(["view"], False), (["view", "view_mcp_payloads"], True)], ids=str
)
async def test_payload_is_shown_by_its_own_permission(
    permissions: list[str], shown: bool, ask: Ask, log_in: Any, transactional_db: None, visitor: Visitor
) -> None:
    clerk = await aside(log_in, *permissions)
    assert (talk(await ask(clerk, visitor, payloads="1"))[0][2] is not None) == shown
    text = page(await aside(clerk.get, f"{visitor.url()}?payloads=1"))
    assert ("<pre>{\n  &quot;jsonrpc" in text) == shown
    assert ("data-payloads" in text) == shown
    assert ("Hide payloads" in text) == shown
    text = page(await aside(clerk.get, visitor.url()))
    assert "<pre>{\n  &quot;jsonrpc" not in text
    assert ('<a href="?payloads=1">Show payloads</a>' in text) == shown


def looks(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if LOOKS in record.getMessage()]


async def test_looking_is_logged_once_for_each_page(
    ask: Ask, boss: Client, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    text = page(await aside(boss.get, visitor.url()))
    [plain] = re.findall(r'data-cursor="([^"]+)"', text)
    await ask(boss, visitor, cursor=plain)
    assert looks(caplog) == []
    text = page(await aside(boss.get, f"{visitor.url()}?payloads=1"))
    [cursor] = re.findall(r'data-cursor="([^"]+)"', text)
    cursor = (await ask(boss, visitor, cursor=cursor, payloads="1"))["cursor"]
    await ask(boss, visitor, cursor=cursor, payloads="1")
    user = await User.objects.aget()
    line = f"user {user.pk} viewed the payloads of session {visitor.short_id}"
    assert looks(caplog) == [line]
    await ask(boss, visitor, cursor=plain, payloads="1")  # by hand, without the page
    assert looks(caplog) == [line, line]
    assert "&quot;method&quot;: &quot;notifications/message" in page(
        await aside(boss.get, f"{visitor.url()}?payloads=1")
    )
    assert '"method":"notifications/message' not in caplog.text


async def test_what_tools_return_is_text(boss: Client, visitor: Visitor, gate: Gate) -> None:
    gate.open.set()
    await gate.wait(gate.left)
    text = page(await aside(boss.get, f"{visitor.url()}?payloads=1"))
    assert HOSTILE not in text
    assert "<img src=x" not in text
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in text


# -- by WebSocket ------------------------------------------------------------------------------------------


async def test_message_comes_when_it_is_sent(boss: Client, visitor: Visitor, gate: Gate) -> None:
    async with following(boss, visitor.url("live")) as opened:
        assert len((await heard(opened))["messages"]) == 1
        gate.open.set()
        told: list[str] = []
        while "result" not in told:
            news = await heard(opened, lambda news: news["messages"])
            told += [text for line in news["messages"] for text in line["texts"]]
        assert "notifications/message" not in told
        while news["tables"]["calls"]:
            news = await heard(opened)
        assert dict(news["tables"]["details"])["State"] == "active"
        [call, _] = news["timeline"]
        assert (call["state"], call["label"], call["texts"][0]) == ("ok", "Answered", "tools/call talk")


async def test_outage_is_told_and_survived(boss: Client, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    session_detail, gone = service.session_detail, True

    async def looked_into(key: str) -> Any:
        if gone:
            raise BackendError("the store has gone")
        return await session_detail(key)

    monkeypatch.setattr(service, "session_detail", looked_into)
    response = await aside(boss.get, visitor.url("live"))
    assert (response.status_code, response.json()) == (503, {"error": "the store has gone"})
    async with following(boss, visitor.url("live")) as opened:
        assert await heard(opened) == {"error": "the store has gone"}
        gone = False
        assert len((await heard(opened))["messages"]) == 1


async def test_session_that_is_over_is_the_end(boss: Client, visitor: Visitor) -> None:
    async with following(boss, visitor.url("live")) as opened:
        await heard(opened)
        await service.end_session(visitor.key)
        assert await heard(opened, lambda news: "over" in news) == {"over": True}
        assert await opened.receive_output(5) == {"type": CLOSED, "code": 1000}
    assert (await aside(boss.get, visitor.url("live"))).json() == {"over": True}


def test_what_is_no_session_is_over(admin_client: Client, endpoint: Endpoint) -> None:
    for key in ("x", "a" * 26, "A" * 5000):
        assert admin_client.get(f"/admin/mcp_transport/session/{key}/live/").json() == {"over": True}
