"""Where the servers' packages are installed: the project's own environment, and one for each peer that needs one."""

# ruff: noqa: S603 (pip and npm are called with the words of this file)
from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.support.processes import ROOT, program

CACHE = ROOT / ".bench"
PEERS = Path(__file__).parent / "peers"


class Environment(ABC):
    """A place with installed packages."""

    @property
    @abstractmethod
    def programs(self) -> Path:
        """The folder of its programs."""

    @abstractmethod
    def install(self) -> None:
        """Install what is missing."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions of its packages."""


class Project(Environment):
    """The environment that runs this benchmark."""

    @property
    def programs(self) -> Path:
        return Path(sys.executable).parent

    def install(self) -> None:
        """Do nothing: the extra `dev` has all."""

    def versions(self) -> dict[str, str]:
        return _freeze(self.programs)


@dataclass(frozen=True)
class Venv(Environment):
    """A virtual environment of its own."""

    requirements: tuple[str, ...]

    @property
    def _folder(self) -> Path:
        return CACHE / f"venv-{_digest(sys.version, *self.requirements)}"

    @property
    def programs(self) -> Path:
        return self._folder / "bin"

    def install(self) -> None:
        done = self._folder / "installed"
        if not done.exists():
            venv.create(self._folder, clear=True, with_pip=True)
            pip = [str(self.programs / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", *self.requirements], check=True)
            done.touch()

    def versions(self) -> dict[str, str]:
        return _freeze(self.programs)


@dataclass(frozen=True)
class Node(Environment):
    """A folder with a package.json, its modules and its programs."""

    source: Path

    @property
    def programs(self) -> Path:
        files = sorted(path for path in self.source.iterdir() if path.is_file())
        return CACHE / f"node-{_digest(*(path.read_text() for path in files))}"

    def install(self) -> None:
        folder = self.programs
        if not (folder / "installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.source, folder)
            npm = [program("npm"), "install", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(npm, cwd=folder, check=True)
            (folder / "installed").touch()

    def versions(self) -> dict[str, str]:
        lock = json.loads((self.programs / "package-lock.json").read_text())
        modules = {path: entry["version"] for path, entry in lock["packages"].items() if path}
        found = {path.removeprefix("node_modules/"): version for path, version in modules.items()}
        node = subprocess.run([program("node"), "--version"], check=True, capture_output=True, text=True)
        return {**found, "node": node.stdout.strip().removeprefix("v")}


def _digest(*texts: str) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()[:12]


def _freeze(programs: Path) -> dict[str, str]:
    pip = [str(programs / "python"), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    listed = subprocess.run(pip, check=True, capture_output=True, text=True)
    return {package["name"].lower(): package["version"] for package in json.loads(listed.stdout)}


ENVIRONMENTS: Mapping[str, Environment] = {
    "project": Project(),
    "drf": Venv(
        ("djangorestframework-mcp-server>=0.54,<0.55", "redis>=5", "uvicorn[standard]>=0.40,<1", "gunicorn>=27,<28")
    ),
    "mcpz": Venv(("django-mcpz>=1.2,<2", "gunicorn>=27,<28")),
    "typescript": Node(PEERS / "typescript"),
}
