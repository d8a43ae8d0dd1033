"""The generated dashboard: promtool parses each query, and all metrics are shown."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_transport.deployment import Deployment, generate
from mcp_transport.domain.policy import Policy
from mcp_transport.metrics import _metric_families
from tests.support.processes import program
from tests.support.programs import need

DEPLOYMENT = Deployment(policy=Policy())


def dashboard(deployment: Deployment = DEPLOYMENT) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(generate("grafana", deployment)["dashboard.json"])
    return dashboard


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def checked(folder: Path, exprs: list[str]) -> subprocess.CompletedProcess[str]:
    """Check queries with promtool as recording rules, with Grafana's variables replaced."""
    records = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(exprs)]
    text = yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]})
    for variable, value in (("$__rate_interval", "1m"), ("$job", "mcp"), ("$namespace", ".*")):
        text = text.replace(variable, value)
    assert "$" not in text
    (folder / "panels.yaml").write_text(text)
    command = [program("promtool"), "check", "rules", str(folder / "panels.yaml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)  # noqa: S603


@pytest.mark.servers
def test_promtool_can_read_every_query(tmp_path: Path) -> None:
    need("promtool")
    read = checked(tmp_path, queries())
    assert read.returncode == 0, read.stdout + read.stderr
    assert f"{len(queries())} rules found" in read.stdout
    assert checked(tmp_path, [*queries(), "sum(rate(mcp_transport_calls[1m])"]).returncode


def test_every_metric_is_shown_and_no_other_one() -> None:
    shown = set(re.findall(r"mcp_transport_\w+", " ".join(queries())))
    metrics = {
        family.name: {family.name, *(family.name + end for end in ("_total", "_bucket", "_count", "_sum"))}
        for family in _metric_families(None)
    }
    assert shown <= set().union(*metrics.values())
    assert all(names & shown for names in metrics.values())


def test_variables_are_declared_and_used() -> None:
    declared = {variable["name"] for variable in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", generate("grafana", DEPLOYMENT)["dashboard.json"]))
    assert declared == used == {"datasource", "job", "namespace"}
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in dashboard()["panels"])


def test_links_to_it_stay_good() -> None:
    other = dashboard(replace(DEPLOYMENT, name="shop", host="shop.example.com"))
    assert other["uid"] == dashboard()["uid"] == "mcp-transport"
    assert [panel["id"] for panel in other["panels"]] == list(range(1, len(other["panels"]) + 1))


def test_panels_do_not_overlap_and_leave_no_gap() -> None:
    occupied: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & occupied, panel["title"]
        occupied |= cells
    assert len(occupied) == 24 * (1 + max(y for _, y in occupied))


def test_lines_are_drawn_at_the_numbers_of_the_deployment() -> None:
    lines = {
        panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
        for panel in dashboard()["panels"]
    }
    assert lines["p95 latency"] == lines["p95 latency by operation"] == 0.1
    assert DEPLOYMENT.p95_milliseconds == 100
