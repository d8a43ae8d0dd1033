"""Which projects are served by which Django behind which servers, and which of these each run takes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.projects.djangos import pythons
from tests.projects.project import PROJECTS, Project

ALWAYS = {
    ("grown", "daphne"),
    ("grown", "uvicorn-h11"),
    ("startproject", "daphne"),
    ("startproject", "uvicorn-httptools"),
}
"""All else only `make test-projects` runs."""


def every_project(wanted: Callable[[Project], bool] = lambda project: True) -> pytest.MarkDecorator:
    """Run a test for each project that is wanted, each Django and each server."""
    return _served(project for project in PROJECTS.values() if wanted(project))


def grown_project() -> pytest.MarkDecorator:
    """Run a test for the project on PostgreSQL, with each Django, behind each ASGI server."""
    return _served([PROJECTS["grown"]])


def _served(projects: Iterable[Project]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("served", list(_parameters(projects)), indirect=True)


def _parameters(projects: Iterable[Project]) -> Iterator[Any]:
    for project in projects:
        for django in pythons():
            for server in project.servers:
                served = (project.name, django, server)
                marks = [] if (project.name, server) in ALWAYS else [pytest.mark.projects]
                yield pytest.param(served, id="-".join(served), marks=marks)
