"""The page of one session: what is known of it, its calls cancelled, itself ended."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.test import Client

from mcp_transport import Context, tool
from mcp_transport.domain.history import Ending, HistoryEntry, HistoryEvent
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import BackendError
from mcp_transport.operators import service
from tests.support.client import until
from tests.support.tools import Gate
from tests.support.visits import LIST, Visitor, aside, messages, page


@pytest.fixture
def tools(declarations: Any, gate: Gate) -> None:
    @tool
    async def wait(ctx: Context) -> str:
        await ctx.session.set("basket", "<script>alert(1)</script>")
        await ctx.report_progress(1)
        await gate.pass_through()
        return "through"


@pytest.fixture
async def visitor(endpoint: Endpoint) -> Visitor:
    visitor = Visitor(endpoint, "desk", "ann", agent="agent/1")
    await visitor.open({"elicitation": {"form": {}}, "roots": {}})
    return visitor


async def calling(visitor: Visitor, gate: Gate, id: Any = 5) -> Any:
    """Begin a call; return its stream."""
    answer = await visitor.call("wait", id=id)
    await gate.wait(gate.entered)
    return answer


async def test_facts_are_shown(boss: Client, visitor: Visitor, gate: Gate) -> None:
    await calling(visitor, gate)
    text = page(await aside(boss.get, visitor.url()))
    for fact in ("desk 1", "ann", "2025-11-25", "127.0.0.1", "agent/1", visitor.endpoint.pool.nodes[0].id):
        assert fact in text
    assert "&quot;elicitation&quot;: {\n    &quot;form&quot;: {}\n  }," in text
    assert "<bdi>basket</bdi>" in text
    assert "alert(1)" not in text  # what tools keep is nobody's business
    assert "Each server process keeps its own calls and streams" in text


async def test_running_call_is_shown_and_cancelled(boss: Client, visitor: Visitor, gate: Gate) -> None:
    await calling(visitor, gate)
    text = page(await aside(boss.get, visitor.url()))
    assert 'name="request" value="5" aria-label="Cancel call 5"' in text
    assert "<td><bdi>tools/call wait</bdi></td><td><bdi>running</bdi></td>" in text
    assert "<td><bdi>no</bdi></td>" in text  # its stream is not over
    asked = page(await aside(boss.post, visitor.url("cancel"), {"request": "5"}))
    assert "Are you sure you want to cancel this call?" in asked
    assert "<bdi>tools/call wait</bdi> · request 5" in asked
    assert not gate.left.is_set()
    response = await aside(boss.post, visitor.url("cancel"), {"request": "5", "post": "yes"}, follow=True)
    assert messages(response) == ["The call is being cancelled."]
    await gate.wait(gate.left)
    assert gate.cancelled
    await until(lambda: not visitor.endpoint.pool.nodes[0].registry.running)
    assert "Cancel call 5" not in page(await aside(boss.get, visitor.url()))
    [entry] = await aside(lambda: list(LogEntry.objects.all()))
    assert (entry.action_flag, entry.object_repr) == (CHANGE, visitor.short_id)
    assert entry.change_message == "Cancelled the call tools/call wait (request 5)."
    assert "Cancelled the call tools/call wait (request 5)." in page(await aside(boss.get, visitor.url("history")))


async def test_id_of_a_call_is_text_and_keeps_its_kind(boss: Client, visitor: Visitor, gate: Gate) -> None:
    hostile = "5\"'><script>alert(1)</script>"
    await calling(visitor, gate, id=hostile)
    text = page(await aside(boss.get, visitor.url()))
    assert "<script>alert" not in text
    assert 'value="&quot;5\\&quot;&#x27;&gt;&lt;script&gt;' in text
    said = [
        messages(await aside(boss.post, visitor.url("cancel"), {"request": sent, "post": "yes"}, follow=True))
        for sent in ("5", '"5"', "true", "[]", "", "x", "1" * 5000, "[" * 100_000)
    ]
    assert said == [["That call is no longer running."]] * 8
    assert not gate.left.is_set()
    [value, template] = re.findall(r'name="request" value="(.*?)"', text)
    assert template == "…"
    response = await aside(
        boss.post, visitor.url("cancel"), {"request": html.unescape(value), "post": "yes"}, follow=True
    )
    assert messages(response) == ["The call is being cancelled."]
    await gate.wait(gate.left)


async def test_ended_session_stops_its_call_and_is_404_for_its_client(
    boss: Client, visitor: Visitor, gate: Gate
) -> None:
    await calling(visitor, gate)
    text = page(await aside(boss.get, visitor.url("delete")))
    assert "end this session" in text
    assert "1 running call" in text
    response = await aside(boss.post, visitor.url("delete"), {"post": "yes"}, follow=True)
    assert messages(response) == ["1 session was ended."]
    await gate.wait(gate.left)
    assert gate.cancelled
    assert (await visitor.request("ping")).status == 404


async def test_reader_gets_no_buttons(
    client: Client, log_in: Any, transactional_db: None, visitor: Visitor, gate: Gate
) -> None:
    await calling(visitor, gate)
    reader = await aside(log_in, "view")
    text = page(await aside(reader.get, visitor.url()))
    assert '<th scope="row"><bdi>5</bdi></th>' in text
    assert 'name="request"' not in text
    assert "End this session" not in text


@pytest.mark.parametrize("view", ["change", "delete", "cancel"])
async def test_session_that_does_not_exist_is_said_not_to(view: str, boss: Client, endpoint: Endpoint) -> None:
    ask, values = (boss.post, {"request": "1"}) if view == "cancel" else (boss.get, {})
    for key in ("A" * 26, "a" * 26, "x", "<script>alert(1)<", "A" * 5000):
        response = await aside(ask, f"{LIST}{quote(key, safe='')}/{view}/", values, follow=True)
        assert "<script>alert" not in page(response)
        assert len(messages(response)) == (2 if view == "cancel" and key == "A" * 26 else 1), key


async def test_capabilities_as_deep_as_a_client_likes_are_no_fault(
    boss: Client, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep: Any = "<script>alert(1)</script>"
    for _ in range(5000):
        deep = [deep]
    detail = await service.session_detail(visitor.key)
    assert detail is not None
    changed = replace(detail, session=replace(detail.session, capabilities={"deep": deep}))

    async def session_detail(key: str) -> Any:
        return changed

    monkeypatch.setattr(service, "session_detail", session_detail)
    assert "nested too deeply" in page(await aside(boss.get, visitor.url()))
    shallow: dict[str, Any] = {"<script>alert(1)</script>": {}}
    changed = replace(detail, session=replace(detail.session, capabilities=shallow))
    text = page(await aside(boss.get, visitor.url()))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


async def test_what_was_ended_before_the_store_was_lost_is_in_the_log(
    boss: Client, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Visitor(endpoint), Visitor(endpoint)
    await asyncio.gather(first.open(), second.open())
    end = endpoint.close_session

    async def ends_one(key: str) -> bool:
        if key == second.key:
            raise BackendError("the store has gone")
        return await end(key)

    monkeypatch.setattr(endpoint, "close_session", ends_one)
    chosen = {"_selected_action": [first.key, second.key], "post": "yes"}
    text = page(await aside(boss.post, f"{LIST}end/", chosen), 503)
    assert "the store has gone" in text
    assert "1 session was ended." in text
    assert await aside(lambda: [entry.object_repr for entry in LogEntry.objects.all()]) == [first.short_id]


WORDS = {
    Ending.OK: "Answered",
    Ending.ERROR: "Failed",
    Ending.CANCELLED: "Cancelled",
    Ending.LOST: "Lost with its node",
    Ending.GIVEN_UP: "Given up: two nodes were lost with it",
}


async def test_each_end_of_a_request_has_words(
    boss: Client, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    detail = await service.session_detail(visitor.key)
    assert detail is not None
    ends = [
        HistoryEntry(when=1.0, what=HistoryEvent.ENDED, node="n1", operation="tools/call look", ending=it)
        for it in Ending
    ]
    changed = replace(detail, history=tuple(ends))

    async def session_detail(key: str) -> Any:
        return changed

    monkeypatch.setattr(service, "session_detail", session_detail)
    opened, *timeline = (await aside(boss.get, visitor.url("live"))).json()["timeline"]
    assert opened["texts"] == ["Session opened"]
    assert [(line["label"], line["texts"][0]) for line in timeline] == [
        (WORDS[ending], "tools/call look") for ending in Ending
    ]


async def test_short_id_of_a_log_line_leads_to_the_session(boss: Client, visitor: Visitor) -> None:
    for name in (visitor.short_id, visitor.short_id.upper()):
        response = await aside(boss.get, f"{LIST}{name}/change/")
        assert (response.status_code, response.url) == (302, visitor.url())
    response = await aside(boss.get, f"{LIST}aaaaaaaaaa/change/", follow=True)
    assert messages(response) == ["The session “aaaaaaaaaa” does not exist: it may have ended."]


async def test_links_lead_to_lists_to_the_user_and_to_the_audit(
    boss: Client, client: Client, log_in: Any, visitor: Visitor
) -> None:
    text = html.unescape(page(await aside(boss.get, visitor.url())))
    node = visitor.endpoint.pool.nodes[0].id
    for place in (f"{LIST}?client=desk+1", f"{LIST}?user=ann", f"{LIST}?node={node}", "/admin/auth/user/7/change/"):
        assert f'<a href="{place}">' in text
    assert f'<a href="/admin/mcp_audit/auditentry/?session__exact={visitor.short_id}">' in text
    reader = await aside(log_in, "view")
    text = page(await aside(reader.get, visitor.url()))
    assert "/admin/auth/user/" not in text
    assert "auditentry" not in text


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("shared_cache")
@pytest.mark.parametrize("region", ["", "eu-west-1"])
def test_home_region_is_shown_if_there_is_one(
    boss: Client, open_session: Callable[..., Visitor], settings: Any, region: str
) -> None:
    settings.MCP_TRANSPORT = {**settings.MCP_TRANSPORT, "REGION": region}
    visitor = open_session()
    details, sessions = page(boss.get(visitor.url())), page(boss.get(LIST))
    assert ("Home region" in details, f"Region {region}" in sessions) == (bool(region), bool(region))
    assert not region or region in details
