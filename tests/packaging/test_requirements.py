"""pyproject.toml is the one list of dependencies: what is written from it agrees, and its extras are enough."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mcp_transport.deployment.docker import PACKAGES
from tests.support.requirements import ROOT, RUN, requirements, requirements_txt

OWN = {"mcp_transport", "mcpsite", "tests"}
PEERS = ROOT / "tests/bench/peers"
"""Other packages' servers: the benchmark installs each into an environment of its own."""


def test_requirements_txt_is_what_pyproject_says() -> None:
    assert (ROOT / "requirements.txt").read_text() == requirements_txt(), "run: make requirements"


def test_requirements_have_no_reference_to_extras_of_the_package() -> None:
    # The image installs requirements.txt before it has the sources.
    names = {Requirement(line).name for line in requirements(["dev"])}
    assert "pytest-django" in names
    assert not names & {"django-mcp-transport", "."}


def test_no_requirement_is_named_twice() -> None:
    for extras in (RUN, ["test"], ["dev"]):
        names = [canonicalize_name(Requirement(line).name) for line in requirements(extras)]
        assert len(names) == len(set(names))


def test_requirements_txt_has_no_tool_of_the_tests() -> None:
    run = closure(requirements(RUN))
    assert {"django", "daphne", "channels", "django-redis", "djangorestframework"} <= run
    assert not run & {"pytest", "pytest-django", "hypothesis", "playwright", "mypy", "ruff", "coverage"}


@pytest.mark.parametrize("server", PACKAGES)
def test_the_tests_use_the_servers_that_images_install(server: str) -> None:
    versions = {Requirement(line).name: Requirement(line).specifier for line in requirements(["test"])}
    for package in map(Requirement, PACKAGES[server]):
        assert versions[package.name] == package.specifier


@pytest.mark.slow
def test_each_import_is_provided_by_the_extra_dev() -> None:
    assert unprovided(imports(), closure(requirements(["dev"]))) == {}


def test_an_import_that_no_extra_provides_is_found() -> None:
    assert unprovided({"mypy": {"tests/x.py"}}, closure(requirements(["test"]))) == {"mypy": {"tests/x.py"}}
    assert unprovided({"nowhere": {"tests/x.py"}}, closure(requirements(["dev"]))) == {"nowhere": {"tests/x.py"}}


def closure(wanted: Iterable[str]) -> set[str]:
    """Return the names of what these requirements install here, with what those require in turn."""
    pending, seen = [Requirement(line) for line in wanted], set()
    while pending:
        requirement = pending.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in seen:
            seen.add(key)
            pending += _required_by(requirement)
    return {name for name, _ in seen}


def _required_by(requirement: Requirement) -> Iterator[Requirement]:
    try:
        lines = requires(requirement.name) or []
    except PackageNotFoundError as missing:
        raise AssertionError(f"{requirement.name} is not installed: make .venv/installed") from missing
    for line in lines:
        found = Requirement(line)
        contexts = [{"extra": extra} for extra in ("", *requirement.extras)]
        if found.marker is None or any(found.marker.evaluate(context) for context in contexts):
            yield found


def imports() -> Mapping[str, set[str]]:
    """Return the packages that the project's files import, each with the files."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in OWN:
        for path in (ROOT / folder).rglob("*.py"):
            if not path.is_relative_to(PEERS):
                for name in _imported(path):
                    found[name].add(str(path.relative_to(ROOT)))
    return {name: files for name, files in found.items() if name not in OWN | sys.stdlib_module_names}


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


providers = cache(packages_distributions)  # it reads the list of files of each distribution


def unprovided(imported: Mapping[str, set[str]], installed: set[str]) -> Mapping[str, set[str]]:
    """Return the imports that none of the installed distributions provides."""
    names = {name: {canonicalize_name(item) for item in providers().get(name, [])} for name in imported}
    return {name: files for name, files in imported.items() if not names[name] & installed}
