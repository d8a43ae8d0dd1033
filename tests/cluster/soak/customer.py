"""One client of the soak: sessions opened and ended, tools called, everything that comes back checked."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

from tests.cluster.soak.expected import Wish, draw
from tests.cluster.soak.ledger import Ledger, Story
from tests.cluster.soak.listener import Listener
from tests.cluster.soak.tale import Tale
from tests.cluster.soak.traffic import Traffic
from tests.support.http.messages import ALL_CAPABILITIES, calling, rpc
from tests.support.http.network import SocketAnswer

END_SECONDS, SILENCE_SECONDS = 60.0, 30.0
_SESSION_SECONDS = 60.0
_CUT = 0.4
"""How likely a client cuts a connection before its stream has ended."""


class Customer:
    """Opens sessions one after the other and calls tools, one call at a time."""

    def __init__(self, number: int, port: int, ledger: Ledger, seed: str, folder: Path) -> None:
        self.name = f"client-{number}"
        self._dice = random.Random(f"{seed} {self.name}")  # noqa: S311 (repeatable, not secret)
        self._ledger, self._folder, self._port = ledger, folder, port
        self.story = Story(ledger, self.name)
        self._traffic = Traffic(port, ledger, self.story, self._dice)
        self._calls = 0
        self._listening: asyncio.Task[None] | None = None
        self.leaving = asyncio.Event()
        self.opened = (0.0, 0.0)
        """When `initialize` was sent, and when it was answered."""

    async def run(self) -> None:
        """Be a client until `leaving` is set; keep the last session open for a look at what it heard."""
        try:
            while True:
                await self._open()
                until = time.monotonic() + self._dice.uniform(0.2, 2) * _SESSION_SECONDS
                while time.monotonic() < until and not self.leaving.is_set():
                    await self._call(draw(self._dice, f"{self.name}-{self._calls}"))
                    await asyncio.sleep(self._dice.expovariate(4))
                if self.leaving.is_set():
                    break
                await self._close()
        except Exception as error:
            self._ledger.violation(f"{self.name} gave up: {error!r}", self.story)

    # -- the session

    async def _open(self) -> None:
        client = self._traffic.client
        client.session_id = ""
        info = {"name": self.name, "version": "1"}
        params = {"protocolVersion": client.version, "capabilities": ALL_CAPABILITIES, "clientInfo": info}
        while not client.session_id:
            began = time.time()
            answer, _ = await self._traffic.post(rpc("initialize", params, 0))
            if await self._body(answer) is not None and answer.status == 200:
                client.session_id = answer.headers["mcp-session-id"]
        self.opened = (began, time.time())
        answer, _ = await self._traffic.post(rpc("notifications/initialized", id=None))
        assert answer.status == 202, answer
        self._ledger.counts["sessions"] += 1
        self.story.note("opened a session")
        self.listener = Listener(self._traffic, self._ledger, self.story, self._dice)
        self._listening = asyncio.create_task(self.listener.run())

    async def _close(self) -> None:
        """DELETE, half of the time with a call under way; all streams of the session must end."""
        self.listener.closing = True
        last = [asyncio.create_task(self._call(draw(self._dice, f"{self.name}-{self._calls}"), is_last=True))]
        if self._dice.random() < 0.5:
            await last.pop()
        else:
            await asyncio.sleep(self._dice.uniform(0, 0.3))
        answer = await self._traffic.delete()
        if answer.status not in (204, 404):
            self._ledger.violation(f"DELETE answered {answer.status}", self.story)
        assert self._listening is not None
        _, open_still = await asyncio.wait([self._listening, *last], timeout=SILENCE_SECONDS)
        if open_still:
            self._ledger.violation("a stream outlives its session", self.story)
        for task in open_still:
            task.cancel()
        self._ledger.counts["sessions ended by DELETE"] += 1

    async def leave(self, politely: bool) -> None:
        """End the session, or just go."""
        if politely:
            await self._close()
        elif self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    # -- a call

    async def _call(self, wish: Wish, *, is_last: bool = False) -> None:
        self._calls += 1
        message = rpc("tools/call", calling(wish.tool, wish.arguments, {"progressToken": "p"}), self._calls)
        wish.prepare(self._folder)
        self._ledger.counts["calls"] += 1
        self.story.note(f"call {self._calls}: {wish.tool} {wish.arguments}")
        began, sent = time.monotonic(), 0
        tale, outcome = Tale(), None
        try:
            async with asyncio.timeout(END_SECONDS):
                while outcome is None:
                    answer, times = await self._traffic.post(message)
                    sent, tale = sent + times, Tale()
                    outcome = await self._outcome(answer, tale, wish, is_last)
        except TimeoutError:
            self._ledger.violation(f"call {self._calls} ({wish.tool}) has no end", self.story)
            return
        self._ledger.slowest = max(self._ledger.slowest, time.monotonic() - began)
        for fault in [*tale.faults, *wish.faults(outcome, tale, sent, self._folder, self.listener.texts)]:
            if not is_last or "outcome" not in fault:
                self._ledger.violation(f"call {self._calls} ({wish.tool}): {fault}", self.story)
        self._ledger.counts["handovers seen by clients"] += tale.handovers
        self._ledger.counts[f"end: {_kind(outcome)}"] += 1

    async def _body(self, answer: SocketAnswer) -> Any:
        """Return a complete answer's value; None for one that broke off."""
        try:
            return json.loads(await answer.read(SILENCE_SECONDS) or b"{}")
        except (AssertionError, TimeoutError):
            self.story.note("the answer broke off")
            return None

    async def _outcome(self, answer: SocketAnswer, tale: Tale, wish: Wish, is_last: bool) -> dict[str, Any] | None:
        """Return a call's end, by whatever connections it comes; None when it must be sent again."""
        while answer.status == 200 and answer.is_stream:
            if (outcome := await self._follow(answer, tale, wish)) is not None:
                return outcome
            if tale.last_id is None:
                return None
            self._ledger.counts["resumes"] += 1
            answer = await self._traffic.get(tale.last_id)
        body: dict[str, Any] | None = await self._body(answer)
        if answer.status != 200 and body is not None:
            if not is_last:
                self._ledger.violation(f"call {self._calls}: {answer.status} {body}", self.story)
            return {"refused": answer.status}
        return body

    async def _follow(self, answer: SocketAnswer, tale: Tale, wish: Wish) -> dict[str, Any] | None:
        """Read one connection's events, perhaps not all; return the call's end if it came."""
        left = self._dice.randint(1, 30) if self._dice.random() < _CUT else 0
        while True:
            try:
                event = await answer.next_event(within=SILENCE_SECONDS)
            except TimeoutError:
                self._ledger.violation("a POST stream without an event", self.story)
                event = None
            if event is None:
                self.story.note(f"the stream ended after {tale.last_id} (broken: {answer.broken})")
                return None
            self.story.note(f"event {event.id} {(event.data or '')[-80:]}")
            message = tale.take(event)
            if message is not None and "method" not in message:
                return message
            if message is not None and message["method"] == "elicitation/create":
                await self._reply(message, wish)
            left -= 1
            if left == 0:
                answer.cut()
                self._ledger.counts["POST streams cut"] += 1
                await asyncio.sleep(self._dice.expovariate(5))
                return None

    async def _reply(self, question: dict[str, Any], wish: Wish) -> None:
        content = {"action": "accept", "content": {"name": wish.name}}
        answer, _ = await self._traffic.post({"jsonrpc": "2.0", "id": question["id"], "result": content})
        if answer.status not in (202, 404):
            self._ledger.violation(f"a reply got {answer.status} {await self._body(answer)}", self.story)


def _kind(outcome: dict[str, Any]) -> str:
    if "refused" in outcome:
        return "refused after DELETE"
    if "error" in outcome:
        error = outcome["error"]
        return f"error {error['code']}: {error['message']}"
    return "tool error" if outcome["result"].get("isError") else "result"
