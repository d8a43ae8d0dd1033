"""Runs one attack beside a probe, and measures what it did to the node."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.attack.attack import Attack, Measured, Scene
from tests.attack.probe import Report
from tests.attack.stage import MIB, AttackedNode, Stage
from tests.support.processes import ROOT

PROBE_SECONDS = 30.0
END_SECONDS = 2.0
"""Seconds that a process may take to end where a neighbour already notices."""


@dataclass
class Watched:
    """What the probe reports, once it has ended."""

    report: Report = field(default_factory=Report)


@asynccontextmanager
async def probing(node: AttackedNode) -> AsyncIterator[Watched]:
    """Have a probe and a neighbour at work, in a process of their own."""
    command = (sys.executable, "-m", "tests.attack.probe", str(node.port), str(node.pid))
    pipe = asyncio.subprocess.PIPE
    probe = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert probe.stdin is not None
    assert probe.stdout is not None
    watched = Watched()
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            assert await probe.stdout.readline() == b"ready\n", "the neighbour could not open its session"
        yield watched
        probe.stdin.write(b"\n")
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                watched.report = Report(**json.loads(await probe.stdout.readline()))
        except TimeoutError:
            watched.report.errors.append("the neighbour was never answered")
    finally:
        if probe.returncode is None:
            probe.kill()
        await probe.wait()


async def measure(attack: Attack, stage: Stage) -> Measured:
    """Run an attack, and return what came of it."""
    node, scene = stage.nodes[attack.watched], Scene(stage)
    node.forget_peak()
    before, log_before, began = node.memory(), node.log_size(), time.monotonic()
    async with probing(node) as watched:
        try:
            async with asyncio.timeout(attack.max_seconds):
                await attack.run(scene)
        except (AssertionError, OSError, TimeoutError, EOFError) as error:
            scene.faults.append(f"{type(error).__name__}: {str(error)[:200]}")
        finally:
            await scene.close()
        peak = node.peak()
    seconds, report = time.monotonic() - began, watched.report
    if attack.quiet and "Traceback" in node.log_since(log_before):
        scene.faults.append("a traceback in the log")
    return Measured(
        attack=attack,
        place=stage.name,
        seen=tuple(scene.seen),
        seconds=seconds,
        pause=report.pause,
        pause_on_the_clock=report.pause_on_the_clock,
        ping=report.ping,
        peak=peak,
        kept=node.memory() - before,
        logged=node.log_size() - log_before,
        alive=not node.wait(END_SECONDS if report.errors else 0),
        neighbour=tuple(report.errors),
        faults=tuple(scene.faults),
    )


def run_all(attacks: Iterable[Attack], servers: Iterable[str], backends: Iterable[str]) -> Iterator[Measured]:
    """Run attacks on each kind of server with each backend; those that harmed a node cost the others nothing."""
    attacks, backends = [*attacks], [*backends]
    for server in servers:
        suiting = [attack for attack in attacks if server in attack.servers]
        for backend in backends:
            here = [attack for attack in suiting if backend in attack.backends]
            yield from _run_shared(server, backend, [attack for attack in here if not attack.needs_own_servers])
            for attack in here:
                if attack.needs_own_servers:
                    with Stage(server, backend, nodes=attack.nodes, settings=attack.settings) as stage:
                        yield asyncio.run(measure(attack, stage))


def _run_shared(server: str, backend: str, attacks: list[Attack]) -> Iterator[Measured]:
    if not attacks:
        return
    with Stage(server, backend) as stage:
        for attack in attacks:
            measured = asyncio.run(measure(attack, stage))
            yield measured
            if measured.outside or not all(node.alive for node in stage.nodes):
                stage.renew()


# -- the table

HEAD = (
    f"{'attack':34} {'where':25} {'seconds':>7} {'pause':>6} {'ping':>6} {'peak MiB':>8} {'kept':>5} "
    f"{'log KiB':>7}  answers"
)


def line(measured: Measured) -> str:
    """Return one line of the table, and one more for each limit that was broken."""
    attack = measured.attack
    answers = ", ".join(f"{count} x {summary}" for summary, count in measured.answers.most_common(4))
    facts = (
        f"{attack.name:34} {measured.place:25} {measured.seconds:7.1f} "
        f"{measured.pause:6.2f} {measured.ping:6.2f} {measured.peak / MIB:8.0f} {measured.kept / MIB:5.0f} "
        f"{measured.logged / 1024:7.0f}  {answers}"
    )
    return "\n".join([facts, *(f"    OUTSIDE: {text[:300]}" for text in measured.outside)])


def summary(all_measured: Sequence[Measured]) -> str:
    """Say how many broke their limits."""
    outside = [measured for measured in all_measured if measured.outside]
    return f"{len(all_measured)} attacks, {len(outside)} outside their limits"
