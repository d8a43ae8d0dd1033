"""The hosted workflows have a valid form, try what the classifiers claim, and trust nothing that can change."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.requirements import PROJECT, ROOT

pytestmark = pytest.mark.slow

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
UNSUPPORTED = {("3.11", "6.0"), ("3.11", "6.1")}
"""Pairs that Django excludes: Django 6 requires Python 3.12."""

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def read(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
    return loaded


def classified(prefix: str) -> list[str]:
    """Return the versions that the classifiers claim."""
    found = (re.fullmatch(rf"{prefix} :: (\d+\.\d+)", line) for line in PROJECT["classifiers"])
    return [match[1] for match in found if match]


def complaints(path: Path) -> str:
    """Return what the schema of workflows forbids in a file."""
    program = Path(sys.executable).parent / "check-jsonschema"
    words: list[str | Path] = [program, "--builtin-schema", "vendor.github-workflows", path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout if done.returncode else ""


@each_workflow
def test_a_workflow_has_the_schema_of_workflows(path: Path) -> None:
    assert complaints(path) == ""


def test_a_misspelt_key_of_a_workflow_is_found(tmp_path: Path) -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    (tmp_path / "ci.yml").write_text(text.replace("runs-on:", "run-on:", 1))
    assert "run-on" in complaints(tmp_path / "ci.yml")


def test_the_matrix_is_what_the_classifiers_claim() -> None:
    matrix = read("ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    excluded = {(pair["python"], pair["django"]) for pair in matrix["exclude"]}
    pythons, djangos = classified("Programming Language :: Python"), classified("Framework :: Django")
    tried = set(product(matrix["python"], matrix["django"])) - excluded
    assert len(pythons) > 1
    assert len(djangos) > 1
    assert tried == set(product(pythons, djangos)) - UNSUPPORTED
    assert f">={pythons[0]}" == PROJECT["requires-python"]


def test_the_compatibility_page_has_the_pairs_of_the_matrix() -> None:
    text = (ROOT / "docs/reference/compatibility.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "| yes" in line]
    pythons, djangos = classified("Programming Language :: Python"), classified("Framework :: Django")
    assert [row[0] for row in rows] == [f"Django {django}" for django in djangos]
    for django, row in zip(djangos, rows, strict=True):
        answers = ["no" if (python, django) in UNSUPPORTED else "yes" for python in pythons]
        assert row[1:] == answers


@each_workflow
def test_actions_are_named_by_their_commits(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    assert [use for use in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


@each_workflow
def test_a_workflow_may_only_read_the_sources(path: Path) -> None:
    workflow = read(path.name)
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert more == ({"publish": {"id-token": "write"}} if path.name == "release.yml" else {})
    checkouts = path.read_text().count("actions/checkout@")
    assert path.read_text().count("persist-credentials: false") == checkouts


def test_the_job_that_may_publish_runs_nothing_of_the_sources() -> None:
    steps = read("release.yml")["jobs"]["publish"]["steps"]
    assert [step["uses"].partition("@")[0] for step in steps] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
