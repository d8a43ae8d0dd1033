"""Send generated requests over eight connections: each is answered, nothing fails inside, memory stays as it is."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.attack.attack import ANSWER_BYTES, FLAT_BYTES, KEPT_BYTES, Attack, Scene
from tests.attack.generated.requests import REVISIONS, Generated, Generator
from tests.attack.measuring import HEAD, line, measure
from tests.attack.stage import MIB, Stage
from tests.attack.wire import Seen, alone, ask
from tests.support.http.client import Client
from tests.support.http.messages import SESSIONLESS

CONNECTIONS = 8
WARM_UP = 500
"""Requests after which memory must not grow any more."""
TOTAL_BYTES = 600 * MIB
"""Bytes that all requests may have together: those beyond are left out, the same ones each time."""
SHOWN = 40
MAX_SECONDS = 3600.0
TOOLS = ("add", "total", "optional", "order", "ask", "measure")
SETTINGS = {"CLIENT_REPLY_TIMEOUT_SECONDS": 0.5, "SSE_AFTER_SECONDS": 0.2}


@dataclass
class Findings:
    """What came of a run."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, Generated, Seen]] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    """Ids that were cancelled, before or after their request: it then has no answer."""
    bytes_left: int = TOTAL_BYTES

    def take(self, number: int, request: Generated, seen: Seen) -> None:
        """Count an answer, and keep the request where it is a fault."""
        was_cancelled = seen.summary == "200 without answer" and repr(request.message.get("id")) in self.cancelled
        self.answers["200 cancelled" if was_cancelled else seen.summary] += 1
        if is_fault(seen) and not was_cancelled:
            self.faults.append((number, request, seen))

    def note_cancel(self, request: Generated) -> None:
        """Remember which request is cancelled, if one is."""
        params = request.message.get("params")
        if request.message.get("method") == "notifications/cancelled" and isinstance(params, dict):
            self.cancelled.add(repr(params.get("requestId")))

    def show(self) -> None:
        """Print how often what was answered, and the two shortest requests of each kind of fault."""
        for summary, times in self.answers.most_common():
            print(f"{times:7} {summary}")
        kinds = Counter[str]()
        for number, request, seen in sorted(self.faults, key=lambda fault: len(fault[1].body)):
            kind = f"{request.revision[:4]} {seen.summary} {request.message.get('method')}"
            kinds[kind] += 1
            if kinds[kind] <= 2 and len(kinds) <= SHOWN:
                print(f"FAULT {number}: {seen}\n    {request}")
        for kind, times in kinds.most_common():
            print(f"{times:7} faults: {kind}")


def is_fault(seen: Seen) -> bool:
    """Tell whether a request was not answered, or answered with a fault of the server's own."""
    if seen.summary == "no answer" or seen.summary.endswith(("unfinished", "without answer")):
        return True
    if seen.summary == "closed" or seen.size > ANSWER_BYTES:
        return True
    return not seen.summary.startswith("503") and (seen.summary.startswith("5") or seen.summary.endswith("-32603"))


def attack(numbers: range, seed: int) -> Attack:
    """Make an attack of generated requests."""

    async def run(scene: Scene) -> None:
        port, findings, waiting = scene.node.port, Findings(), iter(numbers)
        generator = Generator(seed, await _input_schemas(port))
        sessions = {revision: await _session(port, revision) for revision in REVISIONS if revision != SESSIONLESS}
        await asyncio.gather(*(_work(generator, waiting, sessions, port, findings) for _ in range(CONNECTIONS)))
        findings.show()
        scene.must(not findings.faults, f"{len(findings.faults)} faults")

    name = f"generated-{numbers.start}-{numbers.stop}-of-seed-{seed}"
    limits: dict[str, Any] = {"log_bytes": 64 * MIB, "kept_bytes": FLAT_BYTES if numbers.start else KEPT_BYTES}
    return Attack(name=name, what=run.__name__, run=run, expected=(), max_seconds=MAX_SECONDS, **limits)


async def _work(
    generator: Generator, numbers: Iterator[int], sessions: Mapping[str, str], port: int, findings: Findings
) -> None:
    for number in numbers:
        request = generator.request(number)
        raw = request.raw(sessions)
        if len(raw) > findings.bytes_left:
            findings.answers["left out"] += 1
            continue
        findings.bytes_left -= len(raw)
        findings.note_cancel(request)
        # A stream of `subscriptions/listen` has no end.
        findings.take(number, request, await ask(port, raw, first_event=b"subscriptions/listen" in request.body))


async def _input_schemas(port: int) -> dict[str, Any]:
    seen = await ask(port, alone("tools/list"))
    listed = json.loads(seen.body)["result"]["tools"]
    return {tool["name"]: tool["inputSchema"] for tool in listed if tool["name"] in TOOLS} | {
        "measure": {"type": "object", "properties": {"value": {}}, "required": ["value"]}  # it shall not sleep
    }


async def _session(port: int, revision: str) -> str:
    async with Client(port, headers={"X-User": "mallory"}) as client:
        await client.initialize(version=revision)
        return client.session_id


def main(count: int, seed: int, server: str, backend: str) -> int:
    """Start a server and send it requests."""
    sys.setrecursionlimit(20_000)  # for values that are nested deeply, which `copy` and `json` follow
    print(HEAD, flush=True)
    measured = []
    with Stage(server, backend, settings=SETTINGS) as stage:
        for numbers in (range(min(WARM_UP, count)), range(WARM_UP, count)):
            if numbers:
                measured.append(asyncio.run(measure(attack(numbers, seed), stage)))
                print(line(measured[-1]), flush=True)
    return int(any(each.outside for each in measured))
