"""Print requirements.txt, or the requirements of the named extras, as pyproject.toml has them.

python -m tests.support.requirements [EXTRA ...]

It imports nothing that has to be installed: the Makefile runs it first.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUN = ("channels", "metrics", "oauth", "redis", "rest")
"""The extras that the demonstration project uses."""

HEADER = """\
# What the demonstration project needs to run; its container image and `make run` install this.
# Written by `make requirements` from pyproject.toml: change the list there.
"""


def requirements(extras: Iterable[str]) -> list[str]:
    """Return what the package and its extras require, with references to its own extras resolved."""
    found = [*PROJECT["dependencies"]]
    for extra in extras:
        found += _resolved(extra)
    return list(dict.fromkeys(found))


def requirements_txt() -> str:
    """Return what requirements.txt has to contain."""
    return HEADER + "".join(f"{line}\n" for line in requirements(RUN))


def _resolved(extra: str) -> Iterator[str]:
    own = re.compile(rf"{PROJECT['name']}\[(.+)\]")
    for requirement in PROJECT["optional-dependencies"][extra]:
        if reference := own.fullmatch(requirement):
            for name in reference[1].split(","):
                yield from _resolved(name)
        else:
            yield requirement


if __name__ == "__main__":
    if extras := sys.argv[1:]:
        print(*requirements(extras), sep="\n")
    else:
        print(requirements_txt(), end="")
