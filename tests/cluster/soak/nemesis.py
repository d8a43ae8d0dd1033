"""What goes wrong: nodes killed, stopped, frozen; Redis frozen and restarted."""

from __future__ import annotations

import asyncio
import random

import redis

from tests.cluster.soak.ledger import Ledger
from tests.support.cluster.arrangement import Arrangement
from tests.support.node import Node

_PAUSE = (5.0, 20.0)
_STOP_SECONDS = 10.0


class Nemesis:
    """Hits every node and Redis each 5 to 20 seconds; the first node is frozen only, so that its memory shows."""

    def __init__(self, arrangement: Arrangement, ledger: Ledger, seed: str, lease: float) -> None:
        self._arrangement, self._ledger, self._seed, self._lease = arrangement, ledger, seed, lease
        self._over = asyncio.Event()

    def stop(self) -> None:
        """Let everything recover, and do no more."""
        self._over.set()

    async def run(self) -> None:
        """Hit until `stop`; everything runs again at the end."""
        hits = [self._hit_node(node) for node in self._arrangement.nodes]
        await asyncio.gather(self._hit_redis(), *hits)

    async def _calm(self, dice: random.Random) -> bool:
        """Wait for the next turn; return False when there is none."""
        try:
            async with asyncio.timeout(dice.uniform(*_PAUSE)):
                await self._over.wait()
        except TimeoutError:
            return True
        return False

    async def _hit_node(self, node: Node) -> None:
        dice = random.Random(f"{self._seed} {node.name}")  # noqa: S311 (repeatable, not secret)
        blows = [self._freeze, self._kill, self._terminate]
        while await self._calm(dice):
            blow = blows[0] if node is self._arrangement.nodes[0] else dice.choice(blows)
            await blow(node, dice)

    def _note(self, what: str, whom: str) -> None:
        self._ledger.counts[f"nemesis: {what}"] += 1
        self._ledger.blow(f"{whom}: {what}")

    async def _freeze(self, node: Node, dice: random.Random) -> None:
        seconds = dice.uniform(0.2, 2.0) * self._lease
        self._note("SIGSTOP, SIGCONT", f"{node.name} for {seconds:.2f} s")
        await asyncio.to_thread(node.pause)
        await asyncio.sleep(seconds)
        node.resume()
        self._ledger.blow(f"{node.name}: runs on")

    async def _kill(self, node: Node, dice: random.Random) -> None:
        self._note("SIGKILL", node.name)
        await asyncio.to_thread(node.kill)
        await self._start(node, dice)

    async def _terminate(self, node: Node, dice: random.Random) -> None:
        self._note("SIGTERM", node.name)
        node.terminate()
        if not await asyncio.to_thread(node.wait, _STOP_SECONDS):
            self._ledger.violation(f"{node.name} does not end within {_STOP_SECONDS:g} s of SIGTERM")
            await asyncio.to_thread(node.kill)
        await self._start(node, dice)

    async def _start(self, node: Node, dice: random.Random) -> None:
        await asyncio.sleep(dice.uniform(0, 1.5) * self._lease)
        await asyncio.to_thread(node.start)
        self._ledger.blow(f"{node.name}: started again")

    async def _hit_redis(self) -> None:
        dice, server = random.Random(f"{self._seed} redis"), self._arrangement.redis  # noqa: S311
        while await self._calm(dice):
            if dice.random() < 0.5:
                seconds = dice.uniform(0.2, 2.0) * self._lease
                self._note("CLIENT PAUSE", f"redis for {seconds:.2f} s")
                try:
                    await asyncio.to_thread(server.ask, "CLIENT", "PAUSE", round(seconds * 1000), "ALL")
                except redis.RedisError as error:
                    self._ledger.blow(f"redis: {error}")
                continue
            how = dice.choice(("SIGKILL", "SIGTERM"))
            self._note(f"{how} of Redis", "redis")
            await asyncio.to_thread(server.kill if how == "SIGKILL" else server.end)
            await asyncio.sleep(dice.uniform(0, 1.5) * self._lease)
            await asyncio.to_thread(server.start)
            self._ledger.blow("redis: started again")
