"""The GET stream of one session, held for as long as the session lives."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

from tests.cluster.soak.ledger import Ledger, Story
from tests.cluster.soak.tale import Tale
from tests.cluster.soak.traffic import Traffic
from tests.support.http.network import SocketAnswer

SILENCE_SECONDS = 20.0
_CHANGED = "notifications/tools/list_changed"


class Listener:
    """Reads the GET stream, cuts it now and then, and comes back where it was."""

    def __init__(self, traffic: Traffic, ledger: Ledger, story: Story, dice: random.Random) -> None:
        self._traffic, self._ledger, self._story, self._dice = traffic, ledger, story, dice
        self._tale = Tale()
        self._tale.last_id = "g-0"
        self.texts: Counter[str] = Counter()
        """The messages that tools whispered."""
        self.changes: list[float] = []
        """When it heard that the tools changed."""
        self.closing = False
        """Is the session about to end?"""

    async def run(self) -> None:
        """Listen until the session is over."""
        while True:
            answer = await self._traffic.get(self._tale.last_id)
            if answer.status != 200:
                if not self.closing:
                    self._ledger.violation(f"GET answered {answer.status} after {self._tale.last_id}", self._story)
                return
            try:
                await self._read(answer)
            finally:
                answer.cut()
            if self.closing:
                return
            self._ledger.counts["GET streams reopened"] += 1
            await asyncio.sleep(self._dice.uniform(0, 0.5))

    async def _read(self, answer: SocketAnswer) -> None:
        patience = self._dice.expovariate(1 / 6)
        while True:
            comments = answer.comments
            try:
                event = await answer.next_event(within=min(patience, SILENCE_SECONDS))
            except TimeoutError:
                if patience >= SILENCE_SECONDS and answer.comments == comments:
                    self._ledger.violation("a GET stream without a sign of life", self._story)
                self._ledger.counts["GET streams cut"] += 1
                return
            if event is None:
                self._story.note(f"the GET stream ended after {self._tale.last_id} (broken: {answer.broken})")
                return
            message = self._tale.take(event)
            while self._tale.faults:
                self._ledger.violation(f"GET stream: {self._tale.faults.pop()}", self._story)
            if message is None:
                continue
            self._ledger.counts["messages on GET streams"] += 1
            if message["method"] == _CHANGED:
                self.changes.append(time.time())
            else:
                self.texts[str(message["params"].get("data"))] += 1
