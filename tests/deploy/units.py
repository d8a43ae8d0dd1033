"""Parses the generated systemd units, and runs their command lines."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mcp_transport.deployment import Deployment, generate
from tests.support.node import WarmNode

Lines = dict[str, list[str]]
"""`Section.Key`: the values of all its lines."""


def parsed(text: str) -> Lines:
    """Parse a unit."""
    section = ""
    lines_by_key: Lines = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            lines_by_key.setdefault(f"{section}.{key}", []).append(value)
    return lines_by_key


def node(deployment: Deployment, port: int | str = "%i") -> Lines:
    """Return the unit of a node on a port."""
    return parsed(generate("systemd", deployment)[f"{deployment.name}@.service"].replace("%i", str(port)))


class Unit(WarmNode):
    """A node started by the command line of its unit."""

    def __init__(self, deployment: Deployment, variables: Mapping[str, str], name: str) -> None:
        super().__init__("daphne", environment=variables, name=name)  # which only waits for /readyz
        self.deployment = deployment

    @contextmanager
    def inherited(self) -> Iterator[Sequence[int]]:
        yield ()  # the unit's command line binds its own port

    def environment(self) -> dict[str, str]:
        own = dict(pair.split("=", 1) for line in self._lines["Service.Environment"] for pair in line.split())
        return {**os.environ, **own, **self.variables}

    def command(self) -> list[str]:
        path, *arguments = shlex.split(self._lines["Service.ExecStart"][0])
        return [str(Path(sys.executable).parent / Path(path).name), *arguments]

    @property
    def _lines(self) -> Lines:
        return node(self.deployment, self.port)
