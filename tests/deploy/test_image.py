"""The generated Dockerfile is built and run, for each server: `make test-slow`.

A small Debian stands in for the base image, and wheels come from a folder: a registry of images need not be in reach.
Containers share the network of the machine; what they run listens on the loopback interface alone.
"""

# ruff: noqa: S603 (the commands are this project's own)
from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from mcp_transport import conf
from mcp_transport.deployment import Deployment, generate, server
from mcp_transport.deployment.docker import PACKAGES
from mcp_transport.deployment.options import SERVERS
from tests.support.cluster.stage import assert_lost, events_of, some_events, until
from tests.support.http.answer import PATIENCE
from tests.support.http.client import Client
from tests.support.processes import LOOPBACK, ROOT, free_port, program
from tests.support.programs import need
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.slow_deploy

PROGRAMS = ("buildah", "podman", "runc", "mmdebstrap", "redis-server")
BASE = "localhost/python:test"
DEBIAN = "bookworm"
PYTHON = "3.11"
"""Debian's."""
DRAIN = 3.0
BUILD_SECONDS = 600.0
START_SECONDS = 60.0
ENDED = {0, 128 + signal.SIGTERM}
"""Exit statuses of a server that stopped on request; a killed one has another."""
LIMITS = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1024:1024")
"""Podman's default may be more than this machine allows."""

SETTINGS = """\
import os

from tests.support.cluster.site.settings import *

SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]
INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.staticfiles"]
STATIC_URL, STATIC_ROOT, STATICFILES_DIRS = "static/", "/app/staticfiles", ["/app/assets"]
"""
MANAGE = "from django.core.management import execute_from_command_line as run\nimport sys\nrun(sys.argv)\n"
SECRET = "a secret that is for the running container alone"


def run(*arguments: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; a failed assertion shows its output."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        **options,
    )
    assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout[-4000:]}"
    return done


class Engine:
    """buildah and podman, with a storage of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        storage = folder / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
        self._environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage)}

    def buildah(self, *arguments: str | Path) -> str:
        return run(program("buildah"), *arguments, env=self._environment).stdout

    def podman(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        line = [program("podman"), "--runtime", program("runc"), "--cgroup-manager", "cgroupfs", *arguments]
        return run(*line, env=self._environment, check=check)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    need(*PROGRAMS)
    folder = tmp_path_factory.mktemp("engine")
    engine = Engine(folder)
    archive = folder / "base.tar"
    run(
        *(program("mmdebstrap"), "--variant=minbase"),
        *("--include=python3,python3-venv,python-is-python3,ca-certificates", DEBIAN, archive),
    )
    engine.podman("import", "--quiet", archive, BASE)
    archive.unlink()
    yield engine
    engine.podman("rm", "--all", "--force", "--time", "0")
    engine.podman("rmi", "--all", "--force")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Collect wheels for pip: this package in its current state, and its dependencies."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    needed = {"django-mcp-transport[redis]", *(package for packages in PACKAGES.values() for package in packages)}
    needed.add("async-timeout")  # for Python 3.11.2, which may differ from this interpreter
    run(
        *(*pip, "download", "--only-binary", ":all:", "--python-version", PYTHON),
        *("--find-links", str(folder), "--dest", str(folder), *sorted(needed)),
    )
    (folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    return folder


@pytest.fixture(scope="module")
def redis(engine: Engine) -> Iterator[RedisServer]:
    with RedisServer() as redis:
        yield redis


def write_project(folder: Path, deployment: Deployment) -> None:
    """Write a project with tools that the test controls, deployment files, and files to keep out of the image."""
    texts = {
        "manage.py": MANAGE,
        "requirements.txt": "django-mcp-transport[redis]\n",
        "config/__init__.py": "",
        "config/settings.py": SETTINGS,
        "assets/hello.txt": "hello\n",
        "tests/__init__.py": "",
        "tests/support/__init__.py": "",
        "tests/support/cluster/__init__.py": "",
        ".env": "DJANGO_SECRET_KEY=planted\n",
        "db.sqlite3": "planted",
        "config/.env.production": "planted",
        **{f"deploy/docker/{name}": text for name, text in generate("docker", deployment).items()},
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copytree(ROOT / "tests/support/cluster/site", folder / "tests/support/cluster/site")


@pytest.fixture(scope="module", params=SERVERS)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    return Deployment(
        policy=conf.policy(),
        host="localhost",
        server=request.param,
        port=free_port(),
        image=f"localhost/mcp:{request.param}",
        application="tests.support.cluster.site.asgi:application",
    )


@pytest.fixture(scope="module")
def image(engine: Engine, wheels: Path, deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the image as documented in the Dockerfile, but without a network."""
    context = tmp_path_factory.mktemp("project")
    write_project(context, deployment)
    files = context / "deploy/docker"
    began = time.monotonic()
    engine.buildah(
        *("build", "--isolation", "chroot", "--format", "docker", "--pull-never"),
        *("--build-arg", f"BASE_IMAGE={BASE}", "--ignorefile", files / "Dockerfile.dockerignore"),
        *("--volume", f"{wheels}:/wheels:ro", "--volume", f"{wheels}/pip.conf:/etc/pip.conf:ro"),
        *("--file", files / "Dockerfile", "--tag", deployment.image, context),
    )
    print(f"{deployment.server}: built in {time.monotonic() - began:.1f} s")
    return deployment.image


class Container:
    """One node in a container without privileges, with only /tmp and the tools' folder writable."""

    def __init__(self, engine: Engine, deployment: Deployment, redis: RedisServer, folder: Path) -> None:
        self.engine, self.deployment, self.redis, self.folder = engine, deployment, redis, folder
        self.name = f"mcp-{deployment.server}"

    def __enter__(self) -> Self:
        self.folder.chmod(0o777)  # the container has another user
        variables = {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DJANGO_SECRET_KEY": SECRET,
            "REDIS_URL": self.redis.url,
            "SITE_FOLDER": "/marks",
            "SITE_MCP": json.dumps({"DRAIN_SECONDS": DRAIN}),
            "MCP_WAIT_FOR": f"{LOOPBACK}:{self.redis.port}",
        }
        self.engine.podman(
            *("run", "--detach", "--name", self.name, "--network", "host", "--log-driver", "k8s-file"),
            *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--cap-drop", "all"),  # noqa: S108
            *("--security-opt", "no-new-privileges", "--volume", f"{self.folder}:/marks", *LIMITS),
            *(argument for name, value in variables.items() for argument in ("--env", f"{name}={value}")),
            self.deployment.image,
            *server.command(self.deployment, address=LOOPBACK),
        )
        return self

    def __exit__(self, *_: object) -> None:
        print(self.log)  # pytest shows it if a test fails
        self.engine.podman("rm", "--force", "--time", "0", self.name)

    @property
    def log(self) -> str:
        return self.engine.podman("logs", self.name, check=False).stdout

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        return self.engine.podman("exec", self.name, "sh", "-c", script, check=False)

    def is_healthy(self) -> bool:
        return self.engine.podman("healthcheck", "run", self.name, check=False).returncode == 0

    def stop(self) -> float:
        """Stop it like an orchestrator; return how long that took."""
        began = time.monotonic()
        self.engine.podman("stop", "--time", str(self.deployment.termination_timeout), self.name)
        return time.monotonic() - began

    @property
    def exit_code(self) -> int:
        return int(self.engine.podman("inspect", "--format", "{{.State.ExitCode}}", self.name).stdout)


@pytest.fixture
async def container(
    engine: Engine, image: str, deployment: Deployment, redis: RedisServer, tmp_path: Path
) -> AsyncIterator[Container]:
    redis.ask("FLUSHALL")  # the last container was killed, and its node would count as alive for a while
    with Container(engine, deployment, redis, tmp_path) as container:
        await until(container.is_healthy, f"{container.name} is healthy:\n{container.log}", START_SECONDS)
        yield container


def test_the_image_holds_the_project_and_no_secret(engine: Engine, image: str, deployment: Deployment) -> None:
    [inspected] = json.loads(engine.podman("inspect", image).stdout)
    config = inspected["Config"]
    assert config["Cmd"] == server.command(deployment)
    assert config["Entrypoint"] == ["tini", "--", "sh", "/entrypoint.sh"]
    assert (config["User"], config["StopSignal"]) == ("10001:10001", "SIGTERM")
    assert list(config["ExposedPorts"]) == [f"{deployment.port}/tcp"]
    assert "SECRET" not in json.dumps(config["Env"])
    listing = engine.podman("run", "--rm", "--network", "host", *LIMITS, image, "find", "/app", "-type", "f").stdout
    files = set(listing.splitlines())
    assert {"/app/manage.py", "/app/config/settings.py", "/app/staticfiles/hello.txt"} <= files
    assert not [name for name in files if ".env" in name or name.endswith((".sqlite3", ".pyc"))]
    assert not [name for name in files if name.startswith("/app/deploy/") and not name.endswith("/entrypoint.sh")]
    print(f"{deployment.server}: {inspected['Size'] / 1e6:.0f} MB")


async def test_a_node_runs_without_rights_on_a_read_only_root(container: Container) -> None:
    status = container.shell("cat /proc/1/status").stdout
    assert re.search(r"^Name:\ttini$", status, re.M)
    assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.M)
    assert re.search(r"^Gid:\t10001\t10001\t10001\t10001$", status, re.M)
    assert re.search(r"^Cap(Eff|Bnd|Prm):\t0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.M)
    for place in ("/app", "/venv", "/etc", "/"):
        refused = container.shell(f"touch {place}/x")
        assert refused.returncode != 0
        assert "Read-only file system" in refused.stdout
    async with Client(container.deployment.port) as client:
        await client.initialize()
        assert await (await client.call("add", {"a": 1, "b": 2})).text() == "3"


async def test_it_drains_before_it_is_stopped(container: Container) -> None:
    async with Client(container.deployment.port) as client:
        await client.initialize()
        stream = await client.get()
        drained = asyncio.ensure_future(asyncio.to_thread(container.shell, "python manage.py mcp_drain --wait 0"))
        assert await events_of(stream) == []
        assert (await drained).stdout.endswith("\ndrained 1 node\n")
        assert await (await client.call("add", {"a": 1, "b": 2})).text() == "3", "what arrives is served"
    assert container.is_healthy(), "alive, if unready"


async def test_a_call_that_runs_ends_before_the_container(container: Container) -> None:
    async with Client(container.deployment.port) as client:
        await client.initialize()
        stream = await client.get()
        call = asyncio.ensure_future(client.call("silent", {"name": "running"}))
        await until((container.folder / "running.runs").exists, "the call runs")
        stopping = asyncio.ensure_future(asyncio.to_thread(container.stop))
        assert await events_of(stream) == []  # it drains
        assert not stream.broken
        (container.folder / "running.open").touch()
        assert (await (await call).text()).startswith("done on ")
        seconds = await stopping
    assert "drained: " in container.log
    assert "abandoned: " not in container.log
    assert container.exit_code in ENDED
    assert seconds < DRAIN + 5
    print(f"{container.name}: stopped in {seconds:.1f} s, the call had its result")


async def test_a_call_that_lasts_is_told(container: Container) -> None:
    async with Client(container.deployment.port) as client:
        await client.initialize()
        call = await client.call("count", {"name": "lasting"})
        await some_events(call, 3)
        stopping = asyncio.ensure_future(asyncio.to_thread(container.stop))
        assert_lost(await call.outcome(DRAIN + PATIENCE), retryable=False)
        seconds = await stopping
    assert (container.folder / "lasting.cancelled").exists()
    assert "drained: " in container.log
    assert "abandoned: " in container.log
    assert container.exit_code in ENDED
    assert DRAIN < seconds < DRAIN + 10
    print(f"{container.name}: stopped in {seconds:.1f} s, the call had its error")
