"""WSGI: JSON answers only, and nothing of a request outlives it."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading

import pytest

from mcp_transport.engine.node import Node
from tests.adapters.refusals import ECHO
from tests.support.application_servers import WSGI
from tests.support.http.answer import PATIENCE
from tests.support.http.carrier import Carrier
from tests.support.http.client import open_session, text
from tests.support.http.inprocess import Synchronous
from tests.support.http.messages import INITIALIZE, alone, call, fresh, post, rpc
from tests.support.served import Connect, InProcess


@pytest.fixture
def wsgi(transactional_db: None, in_process: InProcess) -> Carrier:
    return in_process("wsgi")


async def test_progress_and_logs_are_dropped(wsgi: Carrier) -> None:
    session = await open_session(wsgi)
    for request in (session.call("chatter"), call("chatter")):
        answer = await wsgi.send(request)
        assert (answer.status, answer.header("content-type")) == (200, "application/json")
        assert await answer.text() == "said"


async def test_end_of_a_request_is_not_logged_as_the_end_of_a_node(
    wsgi: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert await text(wsgi, ECHO) == "x"
    assert "drained" not in caplog.text


async def test_elicitation_is_refused_clearly(wsgi: Carrier) -> None:
    session = await open_session(wsgi)
    outcome = await (await wsgi.send(session.call("ask"))).outcome()
    assert outcome["error"]["code"] == -32600
    assert "elicitation/create cannot be sent: this request" in outcome["error"]["message"]


async def test_what_would_be_a_stream_is_refused(wsgi: Carrier) -> None:
    session = await open_session(wsgi)
    listening = alone("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    refused = [(session.get("abc-1"), 405), (listening, 406)]
    refused += [(one.setting("Accept", "text/event-stream"), 406) for one in (ECHO, session.call("echo", text="x"))]
    for request, status in refused:
        assert (await wsgi.send(request)).status == status
    assert await text(wsgi, ECHO.setting("Accept", "application/json")) == "x"


async def test_sessions_are_served_by_several_threads_at_a_time(wsgi: Carrier) -> None:
    opened = await asyncio.gather(*(wsgi.send(post(INITIALIZE)) for _ in range(8)))
    assert len({answer.header("mcp-session-id") for answer in opened}) == 8
    session = await open_session(wsgi)
    requests = [session.call("add", a=number, b=1) for number in range(12)]
    assert await asyncio.gather(*(text(wsgi, item) for item in requests)) == [str(n + 1) for n in range(12)]
    assert (await wsgi.send(session.delete())).status == 204
    assert (await wsgi.send(requests[0])).status == 404


async def test_batch_is_answered_as_an_array(wsgi: Carrier) -> None:
    params = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}}
    opened = await wsgi.send(post(rpc("initialize", params)))
    batch = [rpc("ping", id=1), rpc("ping", id=2), rpc("notifications/initialized", id=None)]
    answer = await wsgi.send(post(batch, ("Mcp-Session-Id", opened.header("mcp-session-id") or "")))
    assert sorted(item["id"] for item in await answer.json()) == [1, 2]


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_call_is_ended_from_another_thread(wsgi: Carrier, is_deleted: bool) -> None:
    session, name = await open_session(wsgi), fresh()
    waiting = asyncio.ensure_future(wsgi.send(session.call("silent", name=name)))
    await wsgi.send(call("journal", name=name, until="started"))
    cancel = session.notify("notifications/cancelled", {"requestId": 1})
    assert (await wsgi.send(session.delete() if is_deleted else cancel)).status == (204 if is_deleted else 202)
    answer = await waiting
    if not is_deleted:
        assert (answer.status, (await answer.json())["error"]["code"]) == (200, -32800)
    seen = await (await wsgi.send(call("journal", name=name, until="cancelled"))).outcome()
    assert seen["result"]["structuredContent"]["result"] == ["cancelled", "started"]


async def test_nothing_of_a_request_is_left(wsgi: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    async def visit() -> None:
        session = await open_session(wsgi)
        for request in (session.call("echo", text="x"), session.call("add", a=1, b=1), call("chatter"), ECHO):
            assert (await wsgi.send(request)).status == 200
        assert (await wsgi.send(session.notify("notifications/roots/list_changed"))).status == 202
        assert (await wsgi.send(session.delete())).status == 204

    await visit()
    threads, nodes = _threads(), _nodes()
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        for _ in range(5):
            await visit()
        left = [node for node in _nodes() if not any(node is known for known in nodes)]
    assert not left
    for thread in _threads() - threads:
        thread.join(PATIENCE)  # that of the last request may just be ending
    assert _threads() <= threads
    assert not [record.getMessage() for record in caplog.records if record.name == "asyncio"]


def _threads() -> set[threading.Thread]:
    """Return the threads, save those of the two pools: this test's and the tools', which have a size."""
    pools = (Synchronous.THREADS, "mcp-tool")
    return {thread for thread in threading.enumerate() if not thread.name.startswith(pools)}


def _nodes() -> list[Node]:
    gc.collect()
    return [found for found in gc.get_objects() if type(found) is Node]


@pytest.mark.servers
@pytest.mark.parametrize("server", WSGI)
async def test_servers_keep_a_session_from_thread_to_thread(connect: Connect, server: str) -> None:
    carrier = connect(server, "wsgi")
    session = await open_session(carrier)
    assert await text(carrier, session.call("remember", value="tea")) == "kept"
    requests = [session.call("recall") for _ in range(6)]
    assert await asyncio.gather(*(text(carrier, item) for item in requests)) == ["tea"] * 6
