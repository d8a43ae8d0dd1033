"""Send generated requests over eight connections: each is answered, nothing fails inside, memory stays as it is."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.attack.attack import ANSWER_BYTES, FLAT_BYTES, PAUSE_SECONDS, PEAK_BYTES
from tests.attack.generated.requests import REVISIONS, Generated, Generator
from tests.attack.generated.shrinking import shrunk
from tests.attack.measuring import probing
from tests.attack.stage import MIB, Stage
from tests.attack.wire import Seen, alone, ask
from tests.support.cluster.client import SESSIONLESS, Client

CONNECTIONS = 8
WARM_UP = 500
TOTAL_BYTES = 600 * MIB
"""Bytes that all requests may have together: those beyond are left out, the same ones each time."""
SHOWN = 40
TOOLS = ("add", "total", "optional", "order", "ask", "measure")
SETTINGS = {"CLIENT_REPLY_TIMEOUT_SECONDS": 0.5, "SSE_AFTER_SECONDS": 0.2}


@dataclass
class Findings:
    """What came of a run."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, Generated, Seen]] = field(default_factory=list)
    warm: int = 0
    cancelled: set[str] = field(default_factory=set)
    """Ids that were cancelled, before or after their request: it then has no answer."""

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


def is_fault(seen: Seen) -> bool:
    """Tell whether a request was not answered, or answered with a fault of the server's own."""
    if seen.summary == "no answer" or seen.summary.endswith(("unfinished", "without answer")):
        return True
    if seen.summary == "closed" or seen.size > ANSWER_BYTES:
        return True
    return not seen.summary.startswith("503") and (seen.summary.startswith("5") or seen.summary.endswith("-32603"))


async def attack(stage: Stage, count: int, seed: int) -> bool:
    """Send the requests, print what came of them; tell whether all is well."""
    node, findings = stage.nodes[0], Findings()
    generator = Generator(seed, await _input_schemas(node.port))
    sessions = {revision: await _session(node.port, revision) for revision in REVISIONS if revision != SESSIONLESS}
    numbers = iter(range(count))
    budget = [TOTAL_BYTES]
    async with probing(node) as watched:
        workers = [_work(generator, numbers, sessions, node, findings, budget) for _ in range(CONNECTIONS)]
        await asyncio.gather(*workers)
        peak = node.peak()
    report, kept = watched.report, node.memory() - findings.warm
    for summary, times in findings.answers.most_common():
        print(f"{times:7} {summary}")
    tracebacks = raised_in(node.log_since(0))
    memory = f"peak {peak / MIB:.0f} MiB, kept {kept / MIB:.0f} MiB"
    print(f"pause {report.pause:.2f} s, ping {report.ping:.2f} s, {memory}, {TOTAL_BYTES - budget[0]} bytes sent")
    print(f"log {node.log_size() // 1024} KiB; tracebacks in its first MiB: {dict(tracebacks)}")
    await _print_faults(findings, sessions, node.port)
    limits = {
        "the process ended": node.alive,
        f"/healthz stood {report.pause:.2f} s": report.pause <= PAUSE_SECONDS,
        f"{peak / MIB:.0f} MiB of memory": peak <= PEAK_BYTES,
        f"keeps {kept / MIB:.0f} MiB": kept <= FLAT_BYTES,
        f"the neighbour: {report.errors[:3]}": not report.errors,
        f"{len(findings.faults)} faults": not findings.faults,
    }
    for text in (text for text, holds in limits.items() if not holds):
        print(f"    OUTSIDE: {text}")
    return all(limits.values())


def raised_in(log: str) -> Counter[str]:
    """Count what the tracebacks in a log end with."""
    found, within = Counter[str](), False
    for line in log.splitlines():
        if line.startswith("Traceback"):
            within = True
        elif within and not line.startswith(" "):
            within = False
            found[line[:120]] += 1
    return found


async def _work(
    generator: Generator, numbers: Any, sessions: Mapping[str, str], node: Any, findings: Findings, budget: list[int]
) -> None:
    for number in numbers:
        request = generator.request(number)
        raw = request.raw(sessions)
        if len(raw) > budget[0]:
            findings.answers["left out"] += 1
            continue
        budget[0] -= len(raw)
        findings.note_cancel(request)
        findings.take(number, request, await ask(node.port, raw, first_event=_listens(request)))
        if number == WARM_UP:
            findings.warm = node.memory()


def _listens(request: Generated) -> bool:
    """Tell whether an answer may be a stream without an end."""
    return b"subscriptions/listen" in request.body


async def _print_faults(findings: Findings, sessions: Mapping[str, str], port: int) -> None:
    """Print one request of each kind of fault, made as small as it can be."""
    kinds = Counter[str]()
    for number, request, seen in sorted(findings.faults, key=lambda fault: len(fault[1].body)):
        kind = f"{request.revision[:4]} {seen.summary} {request.message.get('method')}"
        kinds[kind] += 1
        if kinds[kind] > 2 or len(kinds) > SHOWN:
            continue

        async def still_faulty(message: Any, request: Generated = request) -> bool:
            raw = request.raw(sessions, json.dumps(message).encode())
            return is_fault(await ask(port, raw, 5, first_event=_listens(request)))

        smallest = "not alone: it takes others at the same time"
        if await still_faulty(request.message):
            smallest = json.dumps(await shrunk(request.message, still_faulty))
        print(f"FAULT {number}: {seen}\n    {request}\n    smallest: {smallest[:600]}")
    for kind, times in kinds.most_common():
        print(f"{times:7} faults: {kind}")


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
    print(f"{count} generated requests of seed {seed}, {server} {backend}", flush=True)
    sys.setrecursionlimit(20_000)  # for values that are nested deeply, which `copy` and `json` follow
    with Stage(server, backend, settings=SETTINGS) as stage:
        return int(not asyncio.run(attack(stage, count, seed)))
