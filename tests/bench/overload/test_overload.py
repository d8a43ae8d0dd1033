"""The load bench's own parts, and its shortest run, which judges no speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop

from tests.bench.load import guarded
from tests.bench.overload import facts, report, tables
from tests.bench.overload.callers import Caller, Target
from tests.bench.overload.capacity import CAPACITY
from tests.bench.overload.generator import FellBehind, check_punctual, poisson, regular
from tests.bench.overload.pool import GIVEN_UP, Call, judge
from tests.bench.overload.scenarios import SCENARIOS, run
from tests.bench.overload.server import MODES, limits, protection, serving
from tests.bench.overload.stage import SHORTEST, Stage
from tests.bench.overload.verdicts import failed, verdicts
from tests.bench.wire import Answer, WrongAnswer

pytestmark = pytest.mark.slow


def call(due: float, seconds: float = 0.1, ok: bool = True, status: int = 200, **more: Any) -> Call:
    return Call("add", due, due, due, due + seconds, status, ok, **more)


def answer(status: int, message: object) -> Answer:
    made = Answer()
    made.status, made.body = status, orjson.dumps(message)
    return made


# -- what is sent


def test_arrivals_have_the_offered_rate_and_the_same_plan_each_time() -> None:
    targets = [Target("one", b""), Target("other", b"")]
    plan = list(poisson(1000, targets, 10, seed=1, first=5))
    assert plan == list(poisson(1000, targets, 10, seed=1, first=5))
    assert 9_500 < len(plan) < 10_500
    assert all(5 < at < 15 for at, _ in plan)
    assert [at for at, _ in regular(4, targets, 1)] == [0, 0.25, 0.5, 0.75]


def test_requests_that_left_late_are_refused() -> None:
    calls = [Call("add", due, due + 0.2) for due in range(100)]
    assert check_punctual(calls, 0.5) == pytest.approx(0.2)
    with pytest.raises(FellBehind, match="200 ms late"):
        check_punctual(calls, 0.1)


def test_a_call_names_its_caller_in_each_dialect() -> None:
    for dialect in ("session", "alone"):
        target = Caller("one", 1, dialect).call("slow_sync")
        assert b"Authorization: Bearer one" in target.template
        assert b'"a":1234567' in target.template % {b"n": 1_234_567}
        assert bool(target.cancel) is (dialect == "session")


# -- what comes back


def test_an_answer_is_a_success_a_failure_or_a_refusal_with_its_limit() -> None:
    one = Call("add", 0, 0)
    for result, ok in (({"content": []}, True), ({"isError": True}, False)):
        judge(one, answer(200, {"id": 7, "result": result}), 7)
        assert one.ok is ok
    refusal = {"id": 7, "error": {"code": -32603, "data": {"limit": "MAX_QUEUED_CALLS"}}}
    for status in (429, 503, 200):
        judge(one, answer(status, refusal), 7)
        assert (one.ok, one.limit) == (False, "MAX_QUEUED_CALLS")
    judge(one, Answer(), 7)  # the connection broke
    assert (one.ok, one.limit) == (False, "")
    with pytest.raises(WrongAnswer):
        judge(one, answer(200, {"id": 8, "result": {}}), 7)


def test_calls_become_rates_latencies_and_reasons() -> None:
    calls = [call(at / 10) for at in range(20)]
    calls += [call(1, ok=False, status=503, limit="MAX_QUEUED_CALLS"), call(1, ok=False, status=GIVEN_UP)]
    calls.append(Call("add", 1, 1))
    assert facts.goodput(calls, 1.0, 1.0) == 10
    assert facts.milliseconds(calls) == {"p50": 100, "p99": 100}
    assert facts.milliseconds([]) == {"p50": None, "p99": None}
    assert facts.refusals(calls) == {"503 MAX_QUEUED_CALLS": 1, "given up": 1, "unanswered": 1}
    assert facts.by_kind(calls)["add"]["share"] == round(20 / 23, 4)
    assert facts.by_second(calls, 0.0)["due"] == [10, 13, 0]


def test_latency_is_normal_again_when_nearly_all_further_calls_are() -> None:
    slow = [call(10 + at / 10, 5) for at in range(10)]
    quick = [call(11 + at / 10) for at in range(40)]
    assert facts.recovery(quick, 10, 0.2) == 0.0
    assert facts.recovery([*slow, *quick], 10, 0.2) == 1.0
    assert facts.recovery([*quick, call(14.95, 5)], 10, 0.2) is None
    assert facts.recovery([call(5, 9), *quick], 10, 0.2) == 0.0  # sent before the end


def test_memory_is_compared_between_thirds_of_the_load() -> None:
    samples = [(float(at), 100.0 + at) for at in range(40)]
    assert facts.memory(samples, 10, 30) == {"before": 110, "first third": 119, "last third": 139, "end": 139}


# -- what is said


def result(scenario: str, mode: str, **more: Any) -> dict[str, Any]:
    latencies = {"p50": 100.0, "p99": 900.0, "calls": 10, "share": 1.0}
    memory = {"before": 90, "first third": 100, "last third": 105, "end": 105}
    figures = {
        "undisturbed": latencies,
        "offered": 2000,
        "goodput": 0.95 * CAPACITY,
        "accepted": latencies,
        "refusals": {"503 MAX_QUEUED_CALLS": 5},
        "probes": {},
        "recovery": 0.5,
        "watched_after": 3,
        "memory": memory,
        "without_core": {"server": 0.25, "load": 0.1},
        **more,
    }
    return {"scenario": scenario, "mode": mode, "facts": figures}


def content(*runs: dict[str, Any], deadline: float | None = 1.0) -> dict[str, Any]:
    return {
        "command": "python -m tests.bench.overload",
        **{"machine": {}, "versions": {}, "backend": "memory", "dialect": "alone", "seconds": 1, "others_busy": 0},
        "protection": {"defaults": {"QUEUE_TIMEOUT_SECONDS": deadline} if deadline else {}, "missing": []},
        "runs": runs,
    }


def test_the_bounds_of_an_overload_are_judged() -> None:
    assert failed(verdicts(content(result("open-sync", "with")))) == []
    for broken in (
        {"goodput": 0.8 * CAPACITY},
        {"accepted": {"p50": 1, "p99": 1001.0}},
        {"accepted": {"p50": None, "p99": None}},
        {"memory": {"first third": 100, "last third": 111}},
        {"recovery": 2.1},
        {"recovery": None},
    ):
        assert len(failed(verdicts(content(result("open-sync", "with", **broken))))) == 1, broken
    without_deadline = verdicts(content(result("open-sync", "with"), deadline=None))
    assert [verdict.holds for verdict in without_deadline] == [True, None, True, True]


def test_the_bounds_of_ordinary_callers_are_judged() -> None:
    good = {"share": 1.0, "p50": 100.0, "p99": 110.0}
    for beside, count in ((good, 0), ({**good, "share": 0.79}, 1), ({"share": 0.0, "p50": None, "p99": None}, 3)):
        run_of = result("hostile-sync", "with", undisturbed=good, beside=beside)
        assert len(failed(verdicts(content(run_of)))) == count
    others = {"ping": good, "slow_sync": {"share": 0.0, "p50": None, "p99": None}}
    assert len(failed(verdicts(content(result("stuck", "with", others=others))))) == 1


def test_a_generator_that_fell_behind_is_said_and_shown_nowhere_else() -> None:
    late = {"scenario": "open-sync", "mode": "with", "fell_behind": "late"}
    page = tables.page(content(late, result("open-sync", "without")))
    assert "the generator keeps up | ? (late) | - |" in page
    assert "open-sync, with |" not in page
    assert "503 MAX_QUEUED_CALLS: 5 | 25%, 10% |" in page


def test_a_page_gets_the_tables_that_it_has_places_for() -> None:
    page = "# Load\n\n<!-- load: bounds -->\n<!-- end -->\n"
    filled = report.filled(page, content(result("open-sync", "with")))
    assert "goodput at least 90/s" in filled
    assert report.filled(filled, content(result("open-sync", "with"))) == filled


# -- the whole, as short as it gets


@pytest.mark.servers
@pytest.mark.parametrize(
    ("scenario", "mode", "dialect"),
    [
        ("open-sync", "without", "alone"),
        ("closed-async", "with", "session"),
        ("hostile-async", "with", "alone"),
        ("stuck", "with", "session"),
    ],
)
def test_the_shortest_run_is_reported(scenario: str, mode: str, dialect: str, tmp_path: Path) -> None:
    with serving("memory", mode) as process:
        measured = uvloop.run(guarded(run(scenario, Stage(process, SHORTEST, dialect))))
    found = {
        **content({"scenario": scenario, "mode": mode, "facts": measured}),
        "protection": protection(),
    }
    assert verdicts(found, mode)
    assert scenario in tables.page(found)
    (tmp_path / "results.json").write_bytes(orjson.dumps(found))
    report.publish(found, tmp_path, tmp_path / "figures")
    assert [*(tmp_path / "figures").glob("*.svg")] or scenario == "stuck"


def test_each_scenario_is_judged_and_each_mode_has_its_limits() -> None:
    assert {name.partition("-")[0] for name in SCENARIOS} == {"open", "closed", "hostile", "stuck"}
    assert "BENCH_LIMITS" not in limits("with")
    assert set(orjson.loads(limits("without")["BENCH_LIMITS"])) == set(protection()["defaults"])
    assert MODES == ("with", "without")
