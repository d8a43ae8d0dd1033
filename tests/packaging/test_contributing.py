"""What contributors are told exists: targets of make, files and folders, pages that links lead to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.requirements import ROOT

PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    lines = re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.M)
    return {target for line in lines for target in line.split()}


@pytest.mark.parametrize("page", [*PAGES, *WORKFLOWS, ROOT / "README.md"], ids=lambda page: page.name)
def test_the_named_targets_of_make_exist(page: Path) -> None:
    commands = re.findall(r"(?:`|run: |^)make ((?:[a-z-]+ ?)+)", page.read_text(), re.M)
    named = {word for command in commands for word in command.split()}
    assert named
    assert named <= targets()


def test_the_named_files_and_folders_exist() -> None:
    words = re.findall(r"`([\w./-]+/[\w./-]+)`", (ROOT / "CONTRIBUTING.md").read_text())
    named = [word for word in words if word.partition("/")[0] in FOLDERS]
    assert named
    assert [word for word in named if not (ROOT / word).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_lead_to_files_and_sections(page: Path) -> None:
    for path, _, section in (link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", page.read_text())):
        assert (ROOT / path).is_file(), path
        headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.M)
        assert not section or section in {heading.lower().replace(" ", "-") for heading in headings}
