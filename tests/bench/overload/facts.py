"""What is learnt from calls and from samples of memory: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tests.bench.load import quantile
from tests.bench.overload.pool import BROKEN, GIVEN_UP, NOT_SENT, Call

Facts = dict[str, Any]

NORMAL = 1.5
"""Latency is normal up to so many times the undisturbed p99."""
_NORMAL_SHARE = 0.98
_TITLES = {BROKEN: "connection broke", GIVEN_UP: "given up", NOT_SENT: "no connection left"}


def milliseconds(calls: Iterable[Call]) -> Facts:
    """Return p50 and p99 of calls that have succeeded; None without any."""
    latencies = [call.latency for call in calls if call.ok]
    shares = {"p50": 0.5, "p99": 0.99}
    return {
        name: round(quantile(latencies, share) * 1000, 1) if latencies else None for name, share in shares.items()
    }


def answered(calls: Sequence[Call]) -> Facts:
    """Return how many calls there were, which share has succeeded, and how long those took."""
    good = sum(call.ok for call in calls)
    return {"calls": len(calls), "share": round(good / len(calls), 4) if calls else None, **milliseconds(calls)}


def by_kind(calls: Iterable[Call]) -> dict[str, Facts]:
    """Return the same for each kind of request."""
    kinds: dict[str, list[Call]] = {}
    for call in calls:
        kinds.setdefault(call.kind, []).append(call)
    return {kind: answered(of_kind) for kind, of_kind in kinds.items()}


def refusals(calls: Iterable[Call]) -> dict[str, int]:
    """Count the calls that have not succeeded, by status and named limit; those still under way are `unanswered`."""
    return dict(Counter(_reason(call) for call in calls if not call.ok).most_common())


def _reason(call: Call) -> str:
    if not call.ended:
        return "unanswered"
    return _TITLES.get(call.status) or " ".join(filter(None, (str(call.status), call.limit)))


def goodput(calls: Iterable[Call], began: float, seconds: float) -> float:
    """Return how many calls per second succeeded in a time, whenever they were sent."""
    good = sum(1 for call in calls if call.ok and began <= call.ended < began + seconds)
    return round(good / seconds, 2)


def recovery(calls: Sequence[Call], ended: float, normal: float) -> float | None:
    """Return after how many seconds 98 % of all further calls were normal, None if that did not come.

    `normal` is in seconds; a call that did not succeed is not normal.
    """
    after = sorted((call for call in calls if call.due >= ended), key=lambda call: call.due)
    odd = [not call.ok or call.latency > normal for call in after]
    left = sum(odd)
    for number, call in enumerate(after):
        if left <= (1 - _NORMAL_SHARE) * (len(after) - number):
            return round(max(call.due - ended, 0.0), 2) if number else 0.0
        left -= odd[number]
    return None


def memory(samples: Sequence[tuple[float, float]], began: float, seconds: float) -> Facts:
    """Return memory (MiB) when the load began, the most in its first and its last third, and at the very end."""
    third = seconds / 3
    before = [mib for at, mib in samples if at <= began] or [samples[0][1]]
    first = [mib for at, mib in samples if began <= at < began + third] or before
    last = [mib for at, mib in samples if began + 2 * third <= at < began + seconds] or first
    facts = {"before": before[-1], "first third": max(first), "last third": max(last), "end": samples[-1][1]}
    return {name: round(value, 1) for name, value in facts.items()}


def by_second(calls: Iterable[Call], began: float) -> dict[str, list[float | None]]:
    """Return, second by second, how many calls were due, succeeded, failed, and the p99 of those due then."""
    due, good, lost = Counter[int](), Counter[int](), Counter[int]()
    latencies: dict[int, list[float]] = {}
    for call in calls:
        second = int(call.due - began)
        due[second] += 1
        if call.ok:
            good[int(call.ended - began)] += 1
            latencies.setdefault(second, []).append(call.latency)
        elif call.ended:
            lost[int(call.ended - began)] += 1
    seconds = range(max((*due, *good, *lost), default=-1) + 1)
    p99 = [round(quantile(latencies[second], 0.99) * 1000, 1) if second in latencies else None for second in seconds]
    counts = {"due": due, "good": good, "failed": lost}
    return {**{name: [count[second] for second in seconds] for name, count in counts.items()}, "p99": p99}
