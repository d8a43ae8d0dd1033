"""What an attack is, what it may do, and the limits within which everybody else must be left."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.attack.stage import BACKENDS, MIB, SERVERS, AttackedNode, Stage
from tests.attack.wire import PATIENCE, Seen, ask, matches
from tests.support.http.client import Client

PAUSE_SECONDS = 0.5
PEAK_BYTES = 512 * MIB
KEPT_BYTES = 192 * MIB
"""What the heap may keep after an attack, which Python does not give back at once; the next one finds it there."""
FLAT_BYTES = 64 * MIB
"""What may be kept of what is not to be kept at all: names in caches, sessions, thousands of requests."""
ANSWER_BYTES = 64 * 1024
LOG_BYTES = 256 * 1024

REFUSED = ("400 -326*", "400 -32020", "413 -32600", "431 -32600", "503 -32603")
"""What any request that is too much may be answered."""


class Scene:
    """What one run of an attack has to work with."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.seen, self.faults = stage, list[Seen](), list[str]()
        self._clients: list[Client] = []

    @property
    def node(self) -> AttackedNode:
        """The node that is attacked."""
        return self.stage.nodes[0]

    async def ask(self, raw: bytes, node: int = 0, within: float = PATIENCE) -> Seen:
        """Send one request; its answer counts."""
        self.seen.append(await ask(self.stage.nodes[node].port, raw, within))
        return self.seen[-1]

    async def ask_all(self, requests: Iterable[bytes], at_once: int = 8, within: float = PATIENCE) -> list[Seen]:
        """Send requests, so many at a time."""
        turns = asyncio.Semaphore(at_once)

        async def ask_in_turn(raw: bytes) -> Seen:
            async with turns:
                return await self.ask(raw, within=within)

        return await asyncio.gather(*map(ask_in_turn, requests))

    async def session(self, user: str = "mallory", node: int = 0) -> Client:
        """Open a session of the attacker's, which works on all nodes."""
        ports = [each.port for each in self.stage.nodes]
        client = Client(*ports[node:], headers={"X-User": user} if user else {})
        self._clients.append(client)
        await client.initialize()
        return client

    def must(self, holds: bool, otherwise: str) -> None:
        """Note a fault where something does not hold."""
        if not holds:
            self.faults.append(otherwise)

    async def close(self) -> None:
        """Cut the clients' connections."""
        for client in self._clients:
            client.cut()


Run = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack, and what it may lead to."""

    name: str
    what: str
    run: Run
    expected: tuple[str, ...]
    """What each request may be answered, as `matches` reads it."""
    short: bool = False
    """Whether it belongs to the short form."""
    servers: tuple[str, ...] = SERVERS
    backends: tuple[str, ...] = BACKENDS
    settings: Mapping[str, Any] | None = None
    """Settings of MCP_TRANSPORT; with them, or with `nodes`, it has servers of its own."""
    nodes: int = 0
    watched: int = 0
    """The node that must live, and that the neighbour uses."""
    answer_bytes: int = ANSWER_BYTES
    kept_bytes: int = KEPT_BYTES
    log_bytes: int = LOG_BYTES
    harms_neighbour: bool = False
    """Whether it takes away what the neighbour needs, so that its errors count for nothing."""
    costs_nodes: bool = False
    """Whether it may cost the watched node, too: any node may be the second; the attack itself counts them."""
    max_seconds: float = 45.0
    """Seconds after which it is given up; none of the table should need half of it."""
    quiet: bool = False
    """Whether nothing of it may be logged with a traceback."""

    @property
    def needs_own_servers(self) -> bool:
        return self.settings is not None or bool(self.nodes)


ATTACKS: dict[str, Attack] = {}


def attack(*expected: str, **options: Any) -> Callable[[Run], Run]:
    """Enter a coroutine function of a scene into the table, by its name and its docstring."""

    def enter(run: Run) -> Run:
        name = run.__name__.strip("_").replace("_", "-")
        assert name not in ATTACKS, name
        what = inspect.cleandoc(run.__doc__ or "")
        ATTACKS[name] = Attack(name=name, what=what, run=run, expected=expected, **options)
        return run

    return enter


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one attack came to on one stage."""

    attack: Attack
    place: str
    seen: tuple[Seen, ...]
    seconds: float
    pause: float
    pause_on_the_clock: float
    ping: float
    peak: int
    kept: int
    """The bytes that the node has in memory more than before."""
    logged: int
    alive: bool
    neighbour: tuple[str, ...]
    """What went wrong for the neighbour."""
    faults: tuple[str, ...] = field(default=())

    @property
    def answers(self) -> Counter[str]:
        return Counter(seen.summary for seen in self.seen)

    @property
    def outside(self) -> list[str]:
        """Name the limits that it broke; none is how it should be."""
        attack = self.attack
        unexpected = [seen for seen in self.seen if not matches(seen.summary, attack.expected)]
        largest = max((seen.size for seen in self.seen), default=0)
        limits = {
            f"answered {unexpected[0] if unexpected else ''}, {len(unexpected)} times": not unexpected,
            f"/healthz stood {self.pause:.2f} s": attack.costs_nodes or self.pause <= PAUSE_SECONDS,
            f"{self.peak / MIB:.0f} MiB of memory": self.peak <= PEAK_BYTES,
            f"keeps {self.kept / MIB:.0f} MiB": self.kept <= attack.kept_bytes,
            f"an answer of {largest} bytes": largest <= attack.answer_bytes,
            f"{self.logged} bytes of log": self.logged <= attack.log_bytes,
            "the process ended": attack.costs_nodes or self.alive,
            f"{len(self.neighbour)} errors of the neighbour: {'; '.join(self.neighbour[:2])}": (
                attack.harms_neighbour or attack.costs_nodes or not self.neighbour
            ),
        }
        return [*(text for text, holds in limits.items() if not holds), *self.faults]
