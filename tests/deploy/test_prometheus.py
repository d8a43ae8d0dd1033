"""Generated Prometheus files: checked by promtool, with unit tests of the rules on synthetic series."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_transport.deployment import Deployment, generate
from mcp_transport.domain.policy import Policy
from mcp_transport.metrics import _BOUNDS_SECONDS, _metric_families
from tests.support.docs import table
from tests.support.processes import program
from tests.support.programs import need

OPERATOR = Deployment(policy=Policy())
ANYWHERE = replace(OPERATOR, monitor="scrape")
P95 = "job:mcp_transport_response_milliseconds:p95_rate1m"


pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    need("promtool")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program("promtool"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)  # noqa: S603


def write(folder: Path, deployment: Deployment) -> dict[str, str]:
    files = generate("prometheus", deployment)
    for name, text in files.items():
        (folder / name).write_text(text)
    return files


def rules(deployment: Deployment = OPERATOR) -> dict[str, Any]:
    """Return the rule groups of the operator's object."""
    spec: dict[str, Any] = yaml.safe_load(generate("prometheus", deployment)["prometheus-rule.yaml"])["spec"]
    return spec


def try_rules(
    folder: Path, *tests: dict[str, Any], deployment: Deployment = OPERATOR
) -> subprocess.CompletedProcess[str]:
    """Run promtool's unit tests of the rules."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules(deployment)))
    file = folder / "tests.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": list(tests)})
    )
    return run("test", "rules", file)


def series(metric: str, values: str, **labels: str) -> dict[str, str]:
    all_labels = {"job": "mcp", "namespace": "mcp", "instance": "a"} | labels
    return {
        "series": f"{metric}{{{', '.join(f'{key}={value!r}' for key, value in all_labels.items())}}}",
        "values": values,
    }


def calls(each: dict[float, int], operation: str = "ping") -> list[dict[str, str]]:
    """Return the bucket series of calls with these durations, at these rates per 15 s."""
    return histogram("mcp_transport_call_seconds", each, operation=operation)


def waits(each: dict[float, int]) -> list[dict[str, str]]:
    """Return the bucket series of calls that waited so long, at these rates per 15 s."""
    return histogram("mcp_transport_wait_seconds", each)


def tool_calls(each: dict[float, int], era: str = "session", instance: str = "a") -> list[dict[str, str]]:
    """Return the bucket series of calls of a tool with these durations, at these rates per 15 s."""
    return histogram("mcp_transport_tool_seconds", each, tool="search", era=era, instance=instance)


def sessions(metric: str, *counts: int) -> list[dict[str, str]]:
    """Return a series for each node."""
    return [series(metric, f"{count}x80", instance=f"node {number}") for number, count in enumerate(counts)]


def histogram(metric: str, each: dict[float, int], **labels: str) -> list[dict[str, str]]:
    """Return the bucket series of these durations, at these rates per 15 s."""
    bounds = [*_BOUNDS_SECONDS, float("inf")]
    counts = {bound: sum(count for seconds, count in each.items() if seconds <= bound) for bound in bounds}
    results = [
        series(
            f"{metric}_bucket",
            f"0+{count}x80",
            le=repr(bound).replace("inf", "+Inf"),
            **labels,
        )
        for bound, count in counts.items()
    ]
    total = sum(each.values())
    return [*results, series(f"{metric}_count", f"0+{total}x80", **labels)]


# -- files -----------------------------------------------------------------------------------------------


def test_configuration_is_right_and_finds_its_rules_and_nodes(tmp_path: Path) -> None:
    files = write(tmp_path, replace(ANYWHERE, port=9000, min_replicas=2))
    checked = run("check", "config", tmp_path / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 rule files found" in checked.stdout
    assert yaml.safe_load(files["nodes.yaml"]) == [{"targets": ["127.0.0.1:9000", "127.0.0.1:9001"]}]


def test_nodes_that_were_named_are_read() -> None:
    files = generate("prometheus", replace(ANYWHERE, upstreams="10.0.0.1:8000,10.0.0.2:8000"))
    assert yaml.safe_load(files["nodes.yaml"]) == [{"targets": ["10.0.0.1:8000", "10.0.0.2:8000"]}]


def test_the_operator_is_given_the_same_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    checked = run("check", "rules", tmp_path / "rules.yaml")
    assert (checked.returncode, "25 rules found" in checked.stdout) == (0, True), checked.stdout + checked.stderr
    anywhere = generate("prometheus", ANYWHERE)["rules.yaml"]
    there = {
        rule.get("alert") or rule["record"] for group in yaml.safe_load(anywhere)["groups"] for rule in group["rules"]
    }
    here = {rule.get("alert") or rule["record"] for group in rules()["groups"] for rule in group["rules"]}
    assert here == there


def test_promtool_sees_what_is_wrong(tmp_path: Path) -> None:
    files = write(tmp_path, ANYWHERE)
    (tmp_path / "rules.yaml").write_text(files["rules.yaml"].replace("sum by (", "sum by ((", 1))
    assert run("check", "rules", tmp_path / "rules.yaml").returncode
    assert run("check", "config", tmp_path / "prometheus.yml").returncode


def test_rules_read_metrics_that_there_are() -> None:
    defined = {
        family.name + suffix for family in _metric_families(None) for suffix in ("", "_total", "_bucket", "_count")
    }
    defined |= {rule["record"] for group in rules()["groups"] for rule in group["rules"] if "record" in rule}
    read = set(re.findall(r"[\w:]*mcp_transport_[\w:]+", generate("prometheus", ANYWHERE)["rules.yaml"]))
    assert read <= defined


def test_every_alert_says_what_to_do() -> None:
    for rule in (rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule):
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_alerts_and_records_are_documented() -> None:
    documented = {(row[0], row[1]) for row in table("howto/prometheus.md", "Alert")}
    assert documented == {(name, rule["labels"]["severity"]) for name, rule in alerts().items()}
    records = [rule["record"] for group in rules()["groups"] for rule in group["rules"] if "record" in rule]
    assert [row[0] for row in table("howto/prometheus.md", "Record")] == records


# -- records ---------------------------------------------------------------------------------------------


def sample_test(expr: str, at: str, *samples: tuple[str, float]) -> dict[str, Any]:
    results = [{"labels": labels, "value": value} for labels, value in samples]
    return {"expr": expr, "eval_time": at, "exp_samples": results}


BOTH = 'job="mcp", namespace="mcp"'
SERVING = series("mcp_transport_draining", "0x80")
FAILING = series("mcp_transport_call_errors_total", "0+3x80", operation="ping")
ERRORS = [*calls({0.01: 30}), FAILING]
RATE = "job_operation:mcp_transport_calls:rate5m"
ERROR_RATE = "job_operation:mcp_transport_call_errors:rate5m"
LOAD = "job:mcp_transport_refused_for_load:rate5m"
TOOL_P95 = "job_tool_era:mcp_transport_tool_milliseconds:p95_rate1m"
SESSIONS = "job:mcp_transport_sessions:max"
IMBALANCE = "job:mcp_transport_node_sessions:imbalance"
WAIT = "job:mcp_transport_wait_seconds:p95_rate5m"
REFUSED = [
    series("mcp_transport_refused_total", "0+3x80", reason=reason) for reason in ("TOOL_THREADS", "max_concurrency")
]
RATIO = "job:mcp_transport_call_errors:ratio_rate5m"


@pytest.mark.parametrize(
    ("input_series", "expr", "labels", "value"),
    [
        # 90 % of the calls within 10 ms and 10 % within 100: p95 is in the middle between 75 and 100 ms. The tool of
        # the project does not count: more nodes make it no faster.
        (
            [
                *calls({0.01: 90}, "ping"),
                *calls({0.1: 10}, "tools/list"),
                *calls({3.0: 99}, "tools/call buy"),
                SERVING,
            ],
            f"round({P95}, 0.001)",
            f"{{{BOTH}}}",
            87.5,
        ),
        ([SERVING], P95, f"{P95}{{{BOTH}}}", 0),
        (ERRORS, RATE, f'{RATE}{{{BOTH}, operation="ping"}}', 2),
        (ERRORS, ERROR_RATE, f'{ERROR_RATE}{{{BOTH}, operation="ping"}}', 0.2),
        (ERRORS, RATIO, f"{RATIO}{{{BOTH}}}", 0.1),
        ([*REFUSED, series("mcp_transport_refused_total", "0+3x80", reason="404")], LOAD, f"{LOAD}{{{BOTH}}}", 0.4),
        (waits({3.0: 30}), f"round({WAIT}, 0.001)", f"{{{BOTH}}}", 4.875),
        # Two nodes of one tool; another era and another tool do not count in.
        (
            [
                *tool_calls({0.01: 90}, instance="a"),
                *tool_calls({0.1: 10}, instance="b"),
                *tool_calls({3.0: 90}, era="sessionless"),
            ],
            f'round({TOOL_P95}{{era="session"}}, 0.001)',
            f'{{era="session", {BOTH}, tool="search"}}',
            87.5,
        ),
        (sessions("mcp_transport_sessions", 70, 70, 69), SESSIONS, f"{SESSIONS}{{{BOTH}}}", 70),
        (sessions("mcp_transport_node_sessions", 60, 60, 120), IMBALANCE, f"{IMBALANCE}{{{BOTH}}}", 0.5),
    ],
    ids=[
        *("p95 of all nodes and operations", "zero without calls", "rate", "errors", "ratio", "refused", "wait"),
        *("p95 of a tool", "sessions", "imbalance"),
    ],
)
def test_record(input_series: list[dict[str, str]], expr: str, labels: str, value: float, tmp_path: Path) -> None:
    for expected, is_right in ((value, True), (value + 1, False)):
        test = {
            "interval": "15s",
            "input_series": input_series,
            "promql_expr_test": [sample_test(expr, "10m", (labels, expected))],
        }
        tested = try_rules(tmp_path, test)
        assert (tested.returncode == 0) is is_right, tested.stdout + tested.stderr


@pytest.mark.parametrize(("operations", "value"), [("tools/call a.b,ping", 87.5), ("", 9.75)])
def test_the_autoscaler_s_record_is_of_the_named_operations(operations: str, value: float, tmp_path: Path) -> None:
    others = calls({3.0: 1}, "tools/call aXb") if operations else []
    named = [*calls({0.01: 90}, "ping"), *calls({0.1: 10}, "tools/call a.b")] if operations else calls({0.01: 90})
    test = {
        "interval": "15s",
        "input_series": [*named, *others, SERVING],
        "promql_expr_test": [sample_test(f"round({P95}, 0.001)", "10m", (f"{{{BOTH}}}", value))],
    }
    tested = try_rules(tmp_path, test, deployment=replace(OPERATOR, p95_operations=operations))
    assert tested.returncode == 0, tested.stdout + tested.stderr


# -- alerts ----------------------------------------------------------------------------------------------

LOST = series("mcp_transport_events_total", "0x20 1x60", event="lost")
FIRING: dict[str, tuple[list[dict[str, str]], str, dict[str, str]]] = {
    "McpNoNode": ([series("mcp_transport_draining", "1x80")], "2m", {}),
    "McpCallsLost": ([LOST], "6m", {"event": "lost"}),
    "McpStoreEmptied": ([series("mcp_transport_events_total", "0+10x80", event="rehydrated")], "6m", {}),
    "McpStoreUnavailable": ([series("mcp_transport_refused_total", "0+5x80", reason="503")], "6m", {}),
    "McpErrors": (ERRORS, "15m", {}),
    "McpSlow": ([SERVING, *calls({0.3: 30})], "15m", {}),
    "McpCallsWait": (waits({3.0: 30}), "15m", {}),
    "McpRefusedForLoad": (REFUSED, "15m", {}),
    "McpCircuitOpen": (
        [series("mcp_transport_circuit_breaker_state", "2x80", tool="look")],
        "5m",
        {"tool": "look"},
    ),
    "McpThreadsLost": ([series("mcp_transport_tool_threads_lost", "1x80")], "15m", {"instance": "a"}),
    "McpNoThread": ([series("mcp_transport_tool_threads_lost", "32x80")], "3m", {"instance": "a"}),
    "McpSessionsImbalanced": (sessions("mcp_transport_node_sessions", 100, 100, 100, 0), "20m", {}),
    "McpMemory": (
        [series("mcp_transport_memory_bytes", "910x80"), series("mcp_transport_memory_limit_bytes", "1000x80")],
        "10m",
        {"instance": "a"},
    ),
    "McpDrainingStuck": ([series("mcp_transport_draining", "1x80")], "3m", {"instance": "a"}),
    "McpRefusedByLimit": (
        [series("mcp_transport_refused_total", "0+5x80", reason="room")],
        "12m",
        {"reason": "room"},
    ),
}
QUIET: dict[str, list[dict[str, str]]] = {
    "McpNoNode": [series("mcp_transport_draining", "1x80"), series("mcp_transport_draining", "0x80", instance="b")],
    "McpCallsLost": [series("mcp_transport_events_total", "0+1x80", event="taken_over")],
    "McpStoreEmptied": [series("mcp_transport_events_total", "0+1x80", event="rehydrated")],
    "McpStoreUnavailable": [series("mcp_transport_refused_total", "0+5x80", reason="404")],
    "McpErrors": [*calls({0.01: 30}), series("mcp_transport_call_errors_total", "0+1x80", operation="ping")],
    "McpSlow": [SERVING, *calls({0.1: 30})],
    "McpCallsWait": waits({0.5: 30}),
    "McpRefusedForLoad": [*REFUSED, *calls({0.01: 200})],
    "McpCircuitOpen": [series("mcp_transport_circuit_breaker_state", "0x4 2x1 0x75", tool="look")],
    "McpThreadsLost": [series("mcp_transport_tool_threads_lost", "1x20 0x60")],
    "McpNoThread": [series("mcp_transport_tool_threads_lost", "31x80")],
    "McpSessionsImbalanced": sessions("mcp_transport_node_sessions", 140, 60),
    "McpMemory": [
        series("mcp_transport_memory_bytes", "899x80"),
        series("mcp_transport_memory_limit_bytes", "1000x80"),
    ],
    "McpDrainingStuck": [series("mcp_transport_draining", "1x5 stale")],
    "McpRefusedByLimit": [series("mcp_transport_refused_total", "0+5x80", reason="404")],
}


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}


def fires(name: str, input_series: list[dict[str, str]], at: str, labels: dict[str, str] | None) -> dict[str, Any]:
    """Return a unit test: the alert fires with these labels, or does not (None)."""
    rule = alerts()[name]
    expected = []
    if labels is not None:
        # absent() returns no labels.
        common = {} if name == "McpNoNode" else {"job": "mcp", "namespace": "mcp"}
        all_labels = common | labels | rule["labels"]
        expected = [{"exp_labels": all_labels, "exp_annotations": rule["annotations"]}]
    alert_test = {"eval_time": at, "alertname": name, "exp_alerts": expected}
    return {"interval": "15s", "input_series": input_series, "alert_rule_test": [alert_test]}


def test_every_alert_is_tried() -> None:
    assert set(alerts()) == set(FIRING) == set(QUIET)


def test_load_that_is_refused_is_a_share_of_all_calls(tmp_path: Path) -> None:
    busy = fires("McpRefusedForLoad", [*REFUSED, *calls({0.01: 100})], "15m", {})
    few = fires("McpCallsWait", waits({3.0: 1}), "15m", None)
    tested = try_rules(tmp_path, busy, few)
    assert tested.returncode == 0, tested.stdout + tested.stderr


NODES = "mcp_transport_node_sessions"
NODE_3_DRAINS = series("mcp_transport_draining", "1x80", instance="node 3")


@pytest.mark.parametrize(
    ("input_series", "is_imbalanced"),
    [
        (sessions(NODES, 151, 49), True),  # of two nodes, none can have more than twice the mean
        (sessions(NODES, 100, 100, 100, 100, 100, 100, 100, 100, 100, 0), True),  # one gets nothing
        (sessions(NODES, 49, 49, 49, 0), False),  # too few for a statement
        (sessions(NODES, 0, 0), False),
        (sessions(NODES, 500), False),
        ([*sessions(NODES, 100, 100, 100, 0), NODE_3_DRAINS], False),
        (sessions(NODES, 100, 100, 0)[:2], False),
        ([*sessions(NODES, 100), series(NODES, "0x30 100x50", instance="new")], False),  # a new node fills up
    ],
)
def test_imbalance_needs_sessions_and_ignores_nodes_that_drain(
    input_series: list[dict[str, str]], is_imbalanced: bool, tmp_path: Path
) -> None:
    early = fires("McpSessionsImbalanced", input_series, "14m59s", None)
    late = fires("McpSessionsImbalanced", input_series, "16m", {} if is_imbalanced else None)
    tested = try_rules(tmp_path, early, late)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_memory_without_a_limit_is_no_alert_and_a_tool_without_calls_is_zero(tmp_path: Path) -> None:
    without = fires("McpMemory", [series("mcp_transport_memory_bytes", "910x80")], "10m", None)
    idle = {
        "interval": "15s",
        "input_series": [series("mcp_transport_tool_seconds_count", "7x80", tool="search", era="session")],
        "promql_expr_test": [
            sample_test(TOOL_P95, "10m", (f'{TOOL_P95}{{era="session", {BOTH}, tool="search"}}', 0)),
        ],
    }
    tested = try_rules(tmp_path, without, idle)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("name", FIRING)
def test_alert_fires_when_it_should_and_not_otherwise(name: str, tmp_path: Path) -> None:
    tests = fires(name, *FIRING[name]), fires(name, QUIET[name], FIRING[name][1], None)
    tested = try_rules(tmp_path, *tests)
    assert tested.returncode == 0, tested.stdout + tested.stderr


# -- scaling ---------------------------------------------------------------------------------------------


def test_the_autoscaler_is_given_what_it_asks_for() -> None:
    [scaler] = yaml.safe_load_all(generate("kubernetes", OPERATOR)["autoscaler.yaml"])
    [metric] = [entry["external"]["metric"] for entry in scaler["spec"]["metrics"] if entry["type"] == "External"]
    rule, of_tool = yaml.safe_load(generate("prometheus", OPERATOR)["adapter-values.yaml"])["rules"]["external"]
    assert of_tool["name"]["as"] == "tool_time_p95"
    assert of_tool["seriesQuery"].startswith(TOOL_P95 + "{")
    assert of_tool["metricsQuery"] == rule["metricsQuery"]
    assert rule["name"]["as"] == metric["name"]
    assert rule["seriesQuery"].startswith(P95 + "{")
    assert rule["metricsQuery"] == "max(<<.Series>>{<<.LabelMatchers>>})"
    # Both are labels of the recorded series.
    assert {"namespace", *metric["selector"]["matchLabels"]} == {"namespace", "job"}
    assert metric["selector"]["matchLabels"] == {"job": OPERATOR.name}


def test_keda_scales_as_the_autoscaler_does() -> None:
    [scaler] = yaml.safe_load_all(generate("kubernetes", OPERATOR)["autoscaler.yaml"])
    spec = yaml.safe_load(generate("prometheus", OPERATOR)["scaled-object.yaml"])["spec"]
    assert spec["scaleTargetRef"]["name"] == scaler["spec"]["scaleTargetRef"]["name"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (OPERATOR.min_replicas, OPERATOR.max_replicas)
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == scaler["spec"]["behavior"]
    targets = [metric["resource"]["target"]["averageUtilization"] for metric in scaler["spec"]["metrics"][:2]]
    assert [int(trigger["metadata"]["value"]) for trigger in spec["triggers"][:2]] == targets
    assert spec["triggers"][2]["metadata"]["threshold"] == scaler["spec"]["metrics"][2]["external"]["target"]["value"]


def test_the_service_that_is_monitored_is_there() -> None:
    monitor = yaml.safe_load(generate("prometheus", OPERATOR)["service-monitor.yaml"])
    service = yaml.safe_load(generate("kubernetes", OPERATOR)["service.yaml"])
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [each["port"] for each in monitor["spec"]["endpoints"]] == [
        port["name"] for port in service["spec"]["ports"]
    ]
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    # The Service's name becomes the job label, which all rules use.
    assert service["metadata"]["name"] == OPERATOR.name
