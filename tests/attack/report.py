"""The table: per attack what was answered, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from tests.attack.attack import Measured
from tests.attack.stage import MIB

HEAD = (
    f"{'attack':34} {'of':4} {'where':25} {'seconds':>7} {'pause':>6} {'ping':>6} {'peak MiB':>8} {'kept':>5} "
    f"{'log KiB':>7}  answers"
)


def line(measured: Measured) -> str:
    """Return one line of the table, and one more for each limit that was broken."""
    attack = measured.attack
    answers = ", ".join(f"{count} x {summary}" for summary, count in measured.answers.most_common(4))
    facts = (
        f"{attack.name:34} {attack.finding or '-':4} {measured.place:25} {measured.seconds:7.1f} "
        f"{measured.pause:6.2f} {measured.ping:6.2f} {measured.peak / MIB:8.0f} {measured.kept / MIB:5.0f} "
        f"{measured.logged / 1024:7.0f}  {answers}"
    )
    return "\n".join([facts, *(f"    OUTSIDE: {text[:300]}" for text in measured.outside)])


def summary(all_measured: Sequence[Measured]) -> str:
    """Say how many were within their limits, and quote an answer of each attack."""
    outside = [measured for measured in all_measured if measured.outside]
    return f"{len(all_measured)} attacks, {len(outside)} outside their limits"


def quotes(all_measured: Sequence[Measured]) -> str:
    """Quote one answer of each kind that each attack got."""
    found = dict.fromkeys(
        f"{measured.attack.name}: {seen}" for measured in all_measured for seen in measured.seen if seen.text
    )
    shown, kinds = [], set[str]()
    for text in found:
        kind = text.partition("'")[0]
        if kind not in kinds:
            kinds.add(kind)
            shown.append(text)
    return "\n".join(shown)
