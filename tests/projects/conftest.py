"""Projects that servers serve, started when a test asks for one; a few are kept for the next test."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.projects.environments import pythons
from tests.projects.postgres import Postgres, look_for_programs
from tests.projects.project import PROJECTS, Prepared, Site, prepare
from tests.projects.table import SERVED, Table
from tests.support.processes import MissingProgramError
from tests.support.programs import lacking

KEPT = 2
"""Servers that run at a time, besides those that a test starts for itself."""

_HERE = Path(__file__).parent
_table = Table()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of one server one after the other, whatever order they come in."""
    places = [place for place, item in enumerate(items) if _served_of(item)]
    for place, item in zip(places, sorted((items[place] for place in places), key=_served_of), strict=True):
        items[place] = item


def _served_of(item: pytest.Item) -> tuple[str, ...]:
    if not item.path.is_relative_to(_HERE):
        return ()
    return tuple(getattr(getattr(item, "callspec", None), "params", {}).get("served", ()))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Enter each test into the table."""
    _table.add(report)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table, and write it where PROJECTS_TABLE says."""
    path = os.environ.get("PROJECTS_TABLE")
    if path and _table.rows:
        terminalreporter.section("projects")
        terminalreporter.write_line(str(_table))
        Path(path).write_text(f"{_table}\n")


@pytest.fixture(scope="session", autouse=True)
def quiet_client() -> None:
    """Keep the official client, which runs in this process and logs session ids, from logging them."""
    logging.getLogger("mcp.client").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run PostgreSQL; without it tests are skipped, or fail where CI is true."""
    try:
        look_for_programs()
    except MissingProgramError as missing:
        lacking(f"THE TESTS OF GROWN PROJECTS ARE SKIPPED: {missing}")
    with Postgres() as server:
        yield server


class Stand:
    """Prepares each project once a Django, and keeps the servers that were asked for last."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self._prepared: dict[tuple[str, str], Prepared] = {}
        self._running: dict[tuple[str, str, str], Site] = {}

    def prepared(self, project: str, django: str) -> Prepared:
        """Return a project with a filled database."""
        key = (project, django)
        if key not in self._prepared:
            self._prepared[key] = prepare(PROJECTS[project], pythons()[django], self.postgres)
        return self._prepared[key]

    def get(self, project: str, django: str, server: str) -> Site:
        """Return a project that a server serves."""
        key = (project, django, server)
        site = self._running.pop(key, None)
        if site is None:
            while len(self._running) >= KEPT:
                self._running.pop(next(iter(self._running))).stop()
            site = self.start(*key)
        self._running[key] = site
        return site

    def start(self, project: str, django: str, server: str, *options: Mapping[str, Any]) -> Site:
        """Start a server with `options` of `Site.start`; the caller stops it."""
        return Site.start(self.prepared(project, django), server, *options)

    def stop_servers(self) -> None:
        """End all servers; they are started again when somebody asks."""
        while self._running:
            self._running.popitem()[1].stop()

    def stop(self) -> None:
        """End all servers; remove what was made."""
        self.stop_servers()
        for prepared in self._prepared.values():
            shutil.rmtree(prepared.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stand(postgres: Postgres) -> Iterator[Stand]:
    """Serve projects."""
    stand = Stand(postgres)
    yield stand
    stand.stop()


Served = tuple[str, str, str]


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Served:
    """Name a project, a Django and a server; the test's result is entered under them."""
    served: Served = request.param
    request.node.user_properties.append((SERVED, served))
    return served


@pytest.fixture
def site(served: Served, stand: Stand) -> Site:
    """Serve a project."""
    return stand.get(*served)
