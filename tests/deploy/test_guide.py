"""docs/explanation/guide.md: its numbers are those of the code and of the generated files."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

import pytest

from mcp_transport import settings_table
from tests.support.processes import ROOT

PAGE = ROOT / "docs/explanation/guide.md"
SAME = "the same"
NUMBER = re.compile(r"(?<![\w./-])\d+(?:\.\d+)?(?=\D|$)")

# What the guide names; nobody may change its side of the comparison.
VALUES: dict[str, str | set[str]] = {
    "Sessions are in Redis and expire": "3600 s",
    "Health check, interval": "30 s",
    "Health check, timeout": {"3 s", "5 s"},
    "Health check, start period": "5 s",
    "Health check, retries": "3",
    "Health check, healthy": "2",
    "Health check, unhealthy": "3",
    "Replicas": "3",
    "Memory, request": "256Mi",
    "Memory, limit": "512Mi",
    "Processor, request": "250m",
    "Processor, limit": "500m",
    "Liveness, delay": "30 s",
    "Liveness, period": "10 s",
    "Readiness, delay": "5 s",
    "Readiness, period": "5 s",
    "Service, port": "80",
    "Service, target port": "8080",
    "Service, affinity": "`ClientIP`, 3600 s",
    "Autoscaler, maximum": "50",
    "Autoscaler, processor": "50 %",
    "Autoscaler, memory": "70 %",
    "Autoscaler, `response_time_p95`": "100",
    "Adding nodes, window": "30 s",
    "Adding nodes, share": "100 % in 60 s",
    "Adding nodes, number": "5 in 60 s",
    "Removing nodes, window": "300 s",
    "Removing nodes, share": "10 % in 60 s",
    "Failures until a node is left out": "`max_fails=2`",
    "How long it is left out": "`fail_timeout=30s`",
    "Idle connections to nodes": "`keepalive 32`",
    "Wait for a node's next byte": "300 s",
    "Wait for a connection": "10 s",
    "Wait while sending": "60 s",
    "Timeouts of the health check": "5 s",
    "HTTPS with a certificate": "port 443",
    "Targets": "by `ip`, port 8080",
    "Stickiness": "`MCP-SESSION`, 1 hour",
    "Global table": "`MCPSessions`",
    "Lambda, sandboxes": "`reservedConcurrency: 100`",
    "Batching, wait": "10 ms",
    "Batching, size": "50",
}


class Row(NamedTuple):
    demand: str
    guide: str
    here: str
    where: str
    why: str


@cache
def rows() -> list[Row]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [Row(*each) for each in cells if each[0] != "Demand"]


def flat(text: str) -> str:
    """Return a text with single spaces: lines of files are folded in the table."""
    return " ".join(text.split())


def sources(row: Row) -> list[str]:
    """Return the quoted texts, each in its file, and settings with their defaults."""
    codes = [code.replace("\\|", "|") for code in re.findall(r"`(.+?)`(?!`)", row.where)]
    texts: list[str] = []
    place = ""
    for code in codes:
        if (ROOT / code).is_file():
            place = flat((ROOT / code).read_text())
        elif code in settings_table.SETTINGS:
            place = f"={settings_table.SETTINGS[code].default:g}"
        else:
            assert place, f"{row.demand}: {code} is in no file"
            assert code in place, f"{row.demand}: {code}"
            texts.append(code)
    return texts


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.demand)
def test_each_demand_is_where_the_table_says(row: Row) -> None:
    texts = sources(row)
    assert texts or re.search(r"\]\([\w./#-]+\)", row.where), "it names a file, a setting or a page"
    value = row.guide if row.here == SAME else row.here
    own = {number for text in texts for number in re.findall(r"\d+(?:\.\d+)?", text)}
    if texts:
        assert {*NUMBER.findall(value)} <= own, f"{value} is not in {texts}"
    if row.here != SAME:
        assert row.why, "another value has a reason"


def test_the_guide_s_side_is_the_guide_s() -> None:
    found: dict[str, set[str]] = {}
    for row in rows():
        found.setdefault(row.demand, set()).add(row.guide)
    for demand, value in VALUES.items():
        assert (value if isinstance(value, set) else {value}) == found[demand], demand
    assert len(rows()) > 90
