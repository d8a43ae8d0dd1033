"""What is done to a server: overload in an open and a closed loop, one hostile caller, calls that never return."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.bench.overload import facts
from tests.bench.overload.callers import Caller, Target
from tests.bench.overload.capacity import CAPACITY, SYNC_THREADS
from tests.bench.overload.facts import Facts
from tests.bench.overload.generator import check_punctual, offer, poisson, regular, repeat
from tests.bench.overload.pool import Call
from tests.bench.overload.stage import Stage, staged

Scenario = Callable[[Stage], Coroutine[Any, Any, Facts]]

_ORDINARY = 10
_ORDINARY_SHARE = 0.05
_UNDISTURBED = 0.5
"""Shares of the capacity."""
_PROBES = 40.0
"""Requests per second by which the event loop is watched, all kinds together."""


@dataclass(frozen=True, slots=True)
class Phases:
    """When the parts of a scenario begin and end, in seconds since its start."""

    overload: float
    after: float
    end: float


def phases(stage: Stage) -> Phases:
    """Plan the parts: undisturbed, overload, and what comes after."""
    scale = stage.scale
    return Phases(scale.before, scale.before + scale.seconds, scale.before + scale.seconds + scale.after)


async def open_loop(stage: Stage, tool: str) -> Facts:
    """Offer many times the capacity, from many callers who do not care how the others fare."""
    calls = [caller.call(tool) for caller in await stage.callers("caller", stage.scale.callers)]
    rate, plan = CAPACITY * stage.scale.factor, phases(stage)
    undisturbed = CAPACITY * _UNDISTURBED
    arrivals = itertools.chain(
        poisson(undisturbed, calls, plan.overload, seed=1),
        poisson(rate, calls, stage.scale.seconds, seed=2, first=plan.overload),
        poisson(undisturbed, calls, stage.scale.after, seed=3, first=plan.after),
    )
    await stage.begin()
    sent, probed = await asyncio.gather(offer(stage.pool, arrivals, stage.began), _probe(stage, plan.end))
    return await _summary(stage, plan, sent, probed)


async def closed_loop(stage: Stage, tool: str) -> Facts:
    """Have many workers call, and call again at once when they have an answer or a refusal."""
    callers = await stage.callers("caller", stage.scale.callers)
    calls, plan = [caller.call(tool) for caller in callers], phases(stage)
    workers = list(itertools.islice(itertools.cycle(calls), stage.scale.workers))
    undisturbed = CAPACITY * _UNDISTURBED
    await stage.begin()
    watched = asyncio.ensure_future(_probe(stage, plan.end))
    sent = await offer(stage.pool, poisson(undisturbed, calls, plan.overload, seed=1), stage.began)
    await stage.reach(plan.overload)
    sent += await repeat(stage.pool, workers, stage.scale.seconds)
    after = poisson(undisturbed, calls, stage.scale.after, seed=3, first=plan.after)
    sent += await offer(stage.pool, after, stage.began)
    return await _summary(stage, plan, sent, await watched)


async def hostile(stage: Stage, tool: str) -> Facts:
    """Have one caller offer many times the capacity beside ten who take half of it together."""
    ordinary = [caller.call(tool) for caller in await stage.callers("ordinary", _ORDINARY)]
    attacker = [caller.call(tool) for caller in await stage.callers("hostile", 1)]
    undisturbed, seconds = stage.scale.seconds / 2, stage.scale.seconds
    rate = CAPACITY * _ORDINARY_SHARE * _ORDINARY
    end = undisturbed + seconds
    flood = poisson(CAPACITY * stage.scale.factor, attacker, seconds, seed=2, first=undisturbed)
    await stage.begin()
    theirs, its, probed = await asyncio.gather(
        offer(stage.pool, poisson(rate, ordinary, end, seed=1), stage.began),
        offer(stage.pool, flood, stage.began),
        _probe(stage, end),
    )
    await stage.settle([*theirs, *probed])
    began = stage.began + undisturbed
    return {
        "without_core": stage.without_core(),
        "late_ms": _late(stage, (*theirs, *its, *probed)),
        "undisturbed": facts.answered([call for call in theirs if call.due < began]),
        "beside": facts.answered([call for call in theirs if call.due >= began]),
        "beside_refusals": facts.refusals(call for call in theirs if call.due >= began),
        "hostile": {**facts.answered(its), "refusals": facts.refusals(its)},
        "probes": facts.by_kind(call for call in probed if call.due >= began),
        "memory": facts.memory(stage.memory, began, seconds),
        "series": {
            "begins": undisturbed,
            "ordinary": facts.by_second(theirs, stage.began),
            "hostile": facts.by_second(its, stage.began),
        },
    }


async def stuck(stage: Stage) -> Facts:
    """Have one caller occupy all threads for good, and see how others fare with everything."""
    attacker = (await stage.callers("hostile", 1))[0].call("stuck")
    others = await stage.callers("ordinary", _ORDINARY)
    await stage.begin()
    kinds = [*(caller.call(tool) for caller in others for tool in ("slow_sync", "slow_async", "add"))]
    kinds += [kind for kind in _probes(stage.prober) if kind.kind != "add"] * 5
    held = [stage.pool.start(attacker, stage.began) for _ in range(SYNC_THREADS)]
    sent = await offer(stage.pool, regular(_PROBES, kinds, stage.scale.seconds), stage.began)
    await stage.settle(sent)
    return {
        "without_core": stage.without_core(),
        "late_ms": _late(stage, sent),
        "others": facts.by_kind(sent),
        "others_refusals": facts.refusals(sent),
        "stuck_refusals": facts.refusals(held),
        "memory": facts.memory(stage.memory, stage.began, stage.scale.seconds),
    }


def _probes(caller: Caller) -> list[Target]:
    return [caller.ask("ping"), caller.ask("tools/list"), caller.health(), caller.call("add")]


async def _probe(stage: Stage, seconds: float) -> list[Call]:
    """Watch the event loop by requests that cost nothing."""
    return await offer(stage.pool, regular(_PROBES, _probes(stage.prober), seconds), stage.began)


async def _summary(stage: Stage, plan: Phases, sent: Sequence[Call], probed: Sequence[Call]) -> Facts:
    await stage.settle([call for call in (*sent, *probed) if call.due >= stage.began + plan.after])
    began, seconds = stage.began + plan.overload, stage.scale.seconds
    before = facts.milliseconds(call for call in sent if call.due < began)
    during = [call for call in sent if began <= call.due < began + seconds]
    normal = (before["p99"] or 0.0) * facts.NORMAL / 1000
    return {
        "without_core": stage.without_core(),
        "late_ms": _late(stage, (*sent, *probed)),
        "undisturbed": {**before, "goodput": facts.goodput(sent, stage.began, plan.overload)},
        "offered": round(len(during) / seconds, 1),
        "goodput": facts.goodput(sent, began, seconds),
        "accepted": facts.milliseconds(during),
        "refusals": facts.refusals(during),
        "probes_before": facts.by_kind(call for call in probed if call.due < began),
        "probes": facts.by_kind(call for call in probed if began <= call.due < began + seconds),
        "recovery": facts.recovery(sent, began + seconds, normal),
        "watched_after": stage.scale.after,
        "memory": facts.memory(stage.memory, began, seconds),
        "connections": stage.pool.opened,
        "series": {
            "begins": plan.overload,
            "ends": plan.after,
            "calls": facts.by_second(sent, stage.began),
            "probes": facts.by_second(probed, stage.began),
            "memory": [[round(at - stage.began, 2), round(mib, 1)] for at, mib in stage.memory],
        },
    }


def _late(stage: Stage, calls: Iterable[Call]) -> float:
    return round(check_punctual([*calls], stage.scale.most_late) * 1000, 1)


SCENARIOS: Mapping[str, Scenario] = {
    "open-sync": partial(open_loop, tool="slow_sync"),
    "open-async": partial(open_loop, tool="slow_async"),
    "closed-sync": partial(closed_loop, tool="slow_sync"),
    "closed-async": partial(closed_loop, tool="slow_async"),
    "hostile-sync": partial(hostile, tool="slow_sync"),
    "hostile-async": partial(hostile, tool="slow_async"),
    "stuck": stuck,
}


async def run(name: str, stage: Stage) -> Facts:
    """Do one scenario to a server."""
    async with staged(stage):
        return await SCENARIOS[name](stage)
