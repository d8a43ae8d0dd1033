"""A session is its opener's: to anybody else, at every entry of every node, it does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.support.cluster.nodes import Site, numbers, rest, result_of, take
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer

Pair = tuple[int, int]
Entry = Callable[[Client, int, str, str], Awaitable[SocketAnswer]]

# What the owner has: a stream of a running call, and a question that waits for its answer.
ENTRIES: dict[str, Entry] = {
    "request": lambda one, port, stream, asked: one.call("add", {"a": 1, "b": 1}, id=1, port=port),
    "running-request": lambda one, port, stream, asked: one.call("count", {"name": "call"}, id="running", port=port),
    "list": lambda one, port, stream, asked: one.request("tools/list", id=1, port=port),
    "ping": lambda one, port, stream, asked: one.request("ping", id=1, port=port),
    "notification": lambda one, port, stream, asked: one.notify("notifications/initialized", port=port),
    "cancel": lambda one, port, stream, asked: one.notify(
        "notifications/cancelled", {"requestId": "running"}, port=port
    ),
    "early-cancel": lambda one, port, stream, asked: one.notify(
        "notifications/cancelled", {"requestId": "later"}, port=port
    ),
    "reply": lambda one, port, stream, asked: one.reply(asked, {"action": "decline"}, port=port),
    "get": lambda one, port, stream, asked: one.get(port=port),
    "resumed-get": lambda one, port, stream, asked: one.get("g-0", port=port),
    "resumed-post": lambda one, port, stream, asked: one.get(stream, port=port),
    "delete": lambda one, port, stream, asked: one.delete(port=port),
}


async def said(answer: SocketAnswer) -> tuple[int, dict[str, str], bytes]:
    """Return everything an answer says, but the time of day."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status, headers, await answer.read()


def unknown_id(known: str) -> str:
    """Return an id of the same form that no node has made."""
    return known[:-6] + ("AAAAAA" if known[-6:] != "AAAAAA" else "BBBBBB")


@pytest.mark.parametrize(
    ("owner", "thief"), [("ann", "eve"), ("ann", ""), ("", "ann")], ids=["another", "nobody", "user-of-nobodys"]
)
async def test_another_principal_is_told_what_an_unknown_id_is_told(
    site: Site, pair: Pair, owner: str, thief: str
) -> None:
    name = site.new_name()
    async with site.client(owner) as ann, site.client(thief) as other:
        await ann.initialize()
        running = await ann.call("count", {"name": name}, id="running", port=pair[0])
        await take(running, 1)
        asking = await ann.call("ask", port=pair[0])
        (question,) = await take(asking, 1)
        get = await ann.get(port=pair[0])
        asked = question.message["id"]
        for entry, enter in ENTRIES.items():
            for port in pair:
                answers = []
                for other.session_id in (ann.session_id, unknown_id(ann.session_id)):
                    answers.append(await said(await enter(other, port, running.last_event_id or "", asked)))
                assert answers[0] == answers[1], entry
                assert answers[0][0] == 404, entry
        await _assert_untouched(site, ann, name, running, asking, get, asked, pair)


async def _assert_untouched(
    site: Site,
    ann: Client,
    name: str,
    running: SocketAnswer,
    asking: SocketAnswer,
    get: SocketAnswer,
    asked: str,
    pair: Pair,
) -> None:
    """Look whether everything goes on for the owner, at both nodes."""
    await (await ann.call("whisper", {"text": "still here"}, port=pair[1])).text()
    assert numbers(await take(get, 1)) == [1]
    later = await ann.call("count", {"name": f"{name}l", "steps": 1}, id="later", port=pair[1])
    assert (await ann.reply(asked, {"action": "accept", "content": {"name": "ann"}}, port=pair[1])).status == 202
    assert await asking.text() == "accept ann"
    for call in (name, f"{name}l"):
        site.let_go(call)
    events = await rest(running)
    assert numbers(events) == [2, 3, 4]
    assert "counted" in result_of(events[-1].message)
    assert "counted" in await later.text()
    assert len(site.pids(name)) == 1
