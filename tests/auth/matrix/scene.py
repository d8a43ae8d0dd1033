"""Ann at work: what an attacker could see, take or break, and whether all of it is still as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcp_transport.bootstrap import endpoint
from mcp_transport.domain.session import session_key
from tests.auth.matrix import project
from tests.auth.matrix.people import Lines
from tests.support.clock import settle
from tests.support.http.answer import Answer
from tests.support.http.carrier import Carrier
from tests.support.http.messages import INITIALIZE, Session, post, rpc
from tests.support.http.request import Request
from tests.support.stores import FlakyBackend

BATCHES = "2025-03-26"


@dataclass
class Scene:
    """Two sessions of Ann's. In the first one a stream is open, a call runs, and a question waits for her reply."""

    carrier: Carrier
    credentials: Lines
    session: Session
    batches: str
    """The id of the other session, whose revision has batches."""
    stream: Answer
    slow: Answer
    slow_call: bytes
    first_event: str
    asked: Answer
    question: str

    @property
    def key(self) -> str:
        return session_key(self.session.id)

    @property
    def store(self) -> FlakyBackend:
        store = endpoint().backend.sessions
        assert isinstance(store, FlakyBackend)
        return store

    async def as_ann(self, request: Request) -> Answer:
        """Send one of Ann's requests."""
        return await self.carrier.send(request.adding(*self.credentials))

    async def goes_on(self) -> None:
        """See that everything that Ann has begun comes to its end, and nobody else has done anything."""
        project.work.may_end.set()
        assert await self.slow.text() == "slow"
        await self.reply()
        assert (await self.as_ann(self.session.call("announce"))).status == 200
        assert (await self.stream.message())["method"] == "notifications/tools/list_changed"
        assert project.work.ran == ["slow", "ask", "announce"]

    async def reply(self) -> None:
        answer = await self.as_ann(replying(self.session, self.question))
        assert answer.status == 202, await answer.read()
        assert await self.asked.text() == "accept Ann"


def replying(session: Session, question: str) -> Request:
    return session.reply(question, {"action": "accept", "content": {"name": "Ann"}})


async def begin(carrier: Carrier, credentials: Lines) -> Scene:
    """Let Ann begin."""
    project.begin()

    async def send(request: Request) -> Answer:
        return await carrier.send(request.adding(*credentials))

    session = Session(await _open(send, INITIALIZE["params"]["protocolVersion"]))
    batches = await _open(send, BATCHES)
    stream = await send(session.get())
    await stream.frame()
    calling = session.call("slow")
    slow = await send(calling)
    event = await slow.event()
    assert event is not None and event.id is not None, "it reports progress"
    asked = await send(session.call("ask"))
    question = (await asked.message())["id"]
    return Scene(carrier, credentials, session, batches, stream, slow, calling.body, event.id, asked, question)


async def _open(send: Any, version: str) -> str:
    message = {**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": version}}
    answer = await send(post(message))
    assert answer.status == 200, (answer.status, await answer.read())
    assert (await answer.json())["result"]["protocolVersion"] == version
    session_id = answer.header("mcp-session-id")
    assert session_id
    headers = (("MCP-Session-Id", session_id), ("MCP-Protocol-Version", version))
    assert (await send(post(rpc("notifications/initialized", id=None), *headers))).status == 202
    return str(session_id)


async def snapshot() -> dict[str, Any]:
    """Return everything that the endpoint and its store know, as values that stay as they are."""
    await settle()
    served = endpoint()
    node, store = await served.pool.node(), served.backend.sessions
    assert isinstance(store, FlakyBackend)
    return {
        "ran": list(project.work.ran),
        "cancelled": project.work.cancelled,
        "records": dict(store._sessions),
        "owned": {owner: list(keys) for owner, keys in store._owned.items()},
        "state": {key: dict(state) for key, state in store._state.items()},
        "local": {key: _local(local) for key, (_, local) in store._local.items()},
        "broadcasts": await store.last_broadcast(),
        "calls": dict(node.registry._calls),
        "running": set(node.registry.running),
        "writers": dict(node.registry.writers),
        "streams": {name: (stream, stream.epoch, stream.cursor) for name, stream in node.registry.streams.items()},
        "questions": dict(node.client_requests.pending),
        "listeners": list(served.kernel.listen_handlers.here._streams),
    }


def error(code: int, message: str, request_id: int | None) -> dict[str, object]:
    """Return the whole body of a refusal."""
    body: dict[str, object] = {"jsonrpc": "2.0", "error": {"code": code, "message": message}}
    return body if request_id is None else {**body, "id": request_id}


def _local(local: Any) -> Any:
    """Return what of a session is in this process: its calls, and its streams with every event."""
    streams = {
        name: (tuple(log._events), log.last, log.delivered, log.holder, log.epoch, log.last_broadcast, log.ended_at)
        for name, log in local.logs.items()
    }
    return dict(local.in_flight), dict(local.cancels), streams
