"""Which projects are served by which Django behind which servers, and which of these each run takes on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.projects.environments import pythons
from tests.projects.project import PROJECTS, Project

ALWAYS = {"grown": ("daphne",), "startproject": ("uvicorn-httptools",)}
"""The server of each project in each run; all else only `make test-projects` runs."""


def every_project() -> pytest.MarkDecorator:
    """Run a test for each project, each Django and each server."""
    return _served(PROJECTS.values(), ALWAYS)


def grown_project() -> pytest.MarkDecorator:
    """Run a test for the project on PostgreSQL, with each Django, behind each server; in each run behind one."""
    return _served([PROJECTS["grown"]], {"grown": ["daphne"]})


def _served(projects: Iterable[Project], always: Mapping[str, Sequence[str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("served", [*_parameters(projects, always)], indirect=True)


def _parameters(projects: Iterable[Project], always: Mapping[str, Sequence[str]]) -> Iterator[Any]:
    for project, django in itertools.product(projects, pythons()):
        for server in project.servers:
            marks = [] if server in always.get(project.name, ()) else [pytest.mark.projects]
            yield pytest.param((project.name, django, server), id=f"{project.name}-{django}-{server}", marks=marks)
