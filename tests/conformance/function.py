"""The scenarios that a function of AWS Lambda does not pass at 2026-07-28: its responses are buffered.

They are measured behind a load balancer that speaks HTTP, like the suite. API Gateway and function URLs speak HTTPS,
so that `dns-rebinding-protection`, whose page is of http://localhost, is of another origin there, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from tests.conformance.summary import Verdict

SPEC: Final = "2026-07-28"

NEED_A_STREAM: Final[Mapping[str, str]] = {
    "server-stateless": "subscriptions/listen is a stream; answered with 406. The other 26 checks pass.",
    "tools-call-with-progress": "progress is sent on a stream before the result; it is dropped.",
}
"""Scenarios and what they need."""


def judge(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts without those that need a stream; one of these that passes fails, since the list is old."""
    missing = NEED_A_STREAM.keys() - {verdict.scenario for verdict in verdicts}
    assert not missing, f"scenarios that did not run: {missing}"
    for scenario, reason in NEED_A_STREAM.items():
        print(f"needs a stream: {scenario}: {reason}")
    listed = [verdict for verdict in verdicts if verdict.scenario in NEED_A_STREAM and verdict.passed]
    others = [verdict for verdict in verdicts if verdict.scenario not in NEED_A_STREAM]
    return others + [replace(each, word="FAIL", reasons=("it is listed to need a stream",)) for each in listed]
