"""The generated Dockerfile, ignore file and entrypoint: linted by hadolint and shells, and run."""

# ruff: noqa: S603, S607 (the commands are this project's own)
from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mcp_transport.deployment import Deployment, generate, server
from mcp_transport.deployment.docker import health_check
from mcp_transport.deployment.options import SERVERS
from mcp_transport.domain.policy import Policy
from tests.support.node import Node
from tests.support.processes import LOOPBACK, free_port

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
SECONDS = 20.0

every_server = pytest.mark.parametrize("name", SERVERS)


def generated(**options: Any) -> dict[str, str]:
    return generate("docker", Deployment(policy=Policy(), **options))


def dockerfile(**options: Any) -> str:
    return generated(**options)["Dockerfile"]


# -- the Dockerfile ----------------------------------------------------------------------------------------


def lint(text: str) -> list[str]:
    """Return the codes of hadolint's findings."""
    line = [str(BIN / "hadolint"), "--format", "json", "-"]
    result = subprocess.run(line, input=text, capture_output=True, text=True, timeout=SECONDS, check=False)
    return [item["code"] for item in json.loads(result.stdout)]


@pytest.mark.slow
@every_server
def test_hadolint_finds_nothing_but_planted_faults(name: str) -> None:
    text = dockerfile(server=name)
    assert lint(text) == lint(dockerfile(server=name, static_files=False)) == []
    assert "DL3000" in lint(text.replace("WORKDIR /app", "WORKDIR app"))
    assert "SC1072" in lint(text.replace('"$(random)"', '"$(random'))


def instructions(text: str) -> dict[str, list[str]]:
    """Return the instructions of the last stage, by their keyword, with continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.M))
    result: dict[str, list[str]] = {}
    for line in joined.rpartition("\nFROM ")[2].splitlines()[1:]:
        if line:
            keyword, _, rest = line.partition(" ")
            result.setdefault(keyword, []).append(rest)
    return result


@every_server
def test_the_image_is_what_the_deployment_says(name: str) -> None:
    deployment = Deployment(policy=Policy(), server=name, port=8123, base_image="registry.test/python:3.13-slim")
    text = generate("docker", deployment)["Dockerfile"]
    last = instructions(text)
    assert text.index("ARG BASE_IMAGE=registry.test/python:3.13-slim\n") < text.index("FROM ")
    assert re.findall("^FROM (.*)$", text, re.M) == ["${BASE_IMAGE} AS builder", "${BASE_IMAGE}"]
    assert json.loads(last["CMD"][0]) == server.command(deployment)
    assert json.loads(last["ENTRYPOINT"][0]) == ["tini", "--", "sh", "/entrypoint.sh"]
    assert last["USER"] == [f"{deployment.uid}:{deployment.uid}"] == ["10001:10001"]
    assert last["EXPOSE"] == ["8123"]
    assert last["STOPSIGNAL"] == ["SIGTERM"]
    options, _, check = last["HEALTHCHECK"][0].partition("CMD ")
    assert json.loads(check) == health_check(deployment)
    assert "--timeout=5s" in options
    [variables] = last["ENV"]
    assert {"PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "HOME=/tmp"} <= set(variables.split())
    assert list(last).index("USER") > list(last).index("RUN"), "nothing is made by the user it runs as"


SERVER_PACKAGES = {
    "daphne": {"daphne"},
    "gunicorn": {"gunicorn", "uvicorn-worker", "uvicorn[standard]"},
    "uvicorn": {"uvicorn[standard]"},
    "granian": {"granian[uvloop]"},
}


@every_server
def test_the_server_is_installed_with_what_it_needs(name: str) -> None:
    line = re.search(r"^RUN /venv/bin/pip install -r \S+ (.*)$", dockerfile(server=name), re.M)
    assert line
    assert {re.split("[<>=]", argument.strip('"'))[0] for argument in line[1].split()} == SERVER_PACKAGES[name]


def test_static_files_are_collected_with_a_secret_that_nobody_keeps() -> None:
    text = dockerfile(secrets="DJANGO_SECRET_KEY,REDIS_URL,PAYMENT_KEY")
    [run] = [line for line in instructions(text)["RUN"] if "collectstatic" in line]
    assert 'DJANGO_SECRET_KEY="$(random)"' in run
    assert 'PAYMENT_KEY="$(random)"' in run
    assert 'REDIS_URL="redis://127.0.0.1:6379/0"' in run
    for keyword in ("ARG", "ENV", "LABEL"):
        assert not [line for line in instructions(text).get(keyword, []) if "SECRET" in line or "PAYMENT" in line]
    assert "collectstatic" not in dockerfile(static_files=False)


def test_what_is_left_out_of_the_image() -> None:
    lines = generated()["Dockerfile.dockerignore"].splitlines()
    assert {"**/.env", "**/.env.*", "**/*.key", "**/*.pem", "**/*.sqlite3", ".git", "deploy"} <= set(lines)
    assert lines.index("!deploy/docker/entrypoint.sh") > lines.index("deploy"), "a later line has the last word"
    assert list(generated()) == ["Dockerfile", "Dockerfile.dockerignore", "entrypoint.sh"]


@pytest.mark.servers
def test_the_health_check_asks_the_node(tmp_path: Path) -> None:
    with Node(folder=tmp_path) as node:
        deployment = Deployment(policy=Policy(), host="localhost", port=node.port)
        line = [sys.executable, *health_check(deployment)[1:]]
        # A proxy of the environment must not be used.
        environment = {**os.environ, "http_proxy": f"http://{LOOPBACK}:1", "HTTP_PROXY": f"http://{LOOPBACK}:1"}
        assert subprocess.run(line, env=environment, timeout=SECONDS, check=False).returncode == 0
        wrong = [argument.replace("/healthz", "/nothing") for argument in line]
        assert subprocess.run(wrong, timeout=SECONDS, check=False).returncode == 1
    done = subprocess.run(line, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert b"ConnectionRefusedError" in done.stderr


# -- the entrypoint ----------------------------------------------------------------------------------------


@pytest.fixture
def entrypoint(tmp_path: Path) -> Path:
    """Write it beside a manage.py that records its arguments."""
    path = tmp_path / "entrypoint.sh"
    path.write_text(generated()["entrypoint.sh"])
    (tmp_path / "manage.py").write_text("import sys\nopen('called', 'a').write(' '.join(sys.argv[1:]) + '\\n')\n")
    return path


@contextmanager
def started(entrypoint: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run it as the image does, in a process group of its own that ends with the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCP_")}
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1", **variables}
    process = subprocess.Popen(
        ["sh", str(entrypoint), *arguments],
        cwd=entrypoint.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("shell", [["sh", "-n"], [BIN / "shellcheck", "--shell=sh"]], ids=["sh", "shellcheck"])
def test_a_shell_can_read_it(entrypoint: Path, shell: list[str | Path]) -> None:
    good = subprocess.run([*shell, entrypoint], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (good.returncode, good.stdout + good.stderr) == (0, "")
    entrypoint.write_text(entrypoint.read_text().replace("\nfi\n", "\n", 1))
    assert subprocess.run([*shell, entrypoint], capture_output=True, timeout=SECONDS, check=False).returncode != 0


def test_it_becomes_the_server(entrypoint: Path) -> None:
    script = "import os, sys; print(os.getpid(), sys.argv[1:])"
    with started(entrypoint, "python", "-c", script, "a b", "c") as process:
        out, _ = process.communicate(timeout=SECONDS)
        assert out == f"{process.pid} ['a b', 'c']\n"
        assert process.returncode == 0
    assert not (entrypoint.parent / "called").exists()


def test_sigterm_reaches_the_server(entrypoint: Path) -> None:
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('draining'), sys.exit(7)))\n"
        "print('ready')\nsignal.pause()\n"
    )
    with started(entrypoint, "python", "-c", script) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        out, _ = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (7, "draining\n")


@pytest.mark.parametrize(("value", "calls"), [("1", "migrate --noinput\n"), ("0", ""), ("", "")])
def test_it_migrates_when_told(entrypoint: Path, value: str, calls: str) -> None:
    called = entrypoint.parent / "called"
    script = "import pathlib; print('after' if pathlib.Path('called').exists() else 'without')"
    with started(entrypoint, "python", "-c", script, MCP_MIGRATE=value) as process:
        out, _ = process.communicate(timeout=SECONDS)
    assert out == ("after\n" if calls else "without\n")
    assert (called.read_text() if called.exists() else "") == calls


def test_a_failed_migration_stops_it(entrypoint: Path) -> None:
    (entrypoint.parent / "manage.py").write_text("raise SystemExit(3)\n")
    assert ended(entrypoint, MCP_MIGRATE="1") == (3, "", "")


def ended(entrypoint: Path, **variables: str) -> tuple[int, str, str]:
    """Run it before `echo`; return its status and output."""
    with started(entrypoint, "echo", "served", **variables) as process:
        out, errors = process.communicate(timeout=SECONDS)
    return process.returncode, out, errors


def test_it_waits_until_all_take_connections(entrypoint: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as one, socket.create_server((LOOPBACK, free_port())) as other:
        first, second = (listener.getsockname()[1] for listener in (one, other))
        other.close()  # for now
        places = f"{LOOPBACK}:{first}, {LOOPBACK}:{second}"
        with started(entrypoint, "echo", "served", MCP_WAIT_FOR=places) as process:
            one.settimeout(SECONDS)
            one.accept()[0].close()  # so it is at the second one, or about to be
            assert process.poll() is None
            with socket.create_server((LOOPBACK, second)):
                out, _ = process.communicate(timeout=SECONDS)
            assert (process.returncode, out) == (0, "served\n")


def test_it_waits_no_longer_than_told(entrypoint: Path) -> None:
    place = f"{LOOPBACK}:{free_port()}"
    began = time.monotonic()
    with socket.create_server((LOOPBACK, 0)) as listener:
        places = f"{LOOPBACK}:{listener.getsockname()[1]} {place}"
        status, out, errors = ended(entrypoint, MCP_WAIT_FOR=places, MCP_WAIT_SECONDS="0.5")
    assert time.monotonic() - began >= 0.5
    assert (status, out) == (1, "")
    assert errors.startswith(f"MCP_WAIT_FOR: {place} accepts no connections")


UNREADABLE = [("MCP_WAIT_FOR", place) for place in ("nosuch", "redis:x", ":6379", "redis:0", "redis:65536", "redis:")]
UNREADABLE += [("MCP_WAIT_SECONDS", seconds) for seconds in ("x", "nan", "inf", "-1", "1e9")]


@pytest.mark.parametrize(("name", "value"), UNREADABLE)
def test_what_it_cannot_wait_for_is_one_sentence(name: str, value: str, entrypoint: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        environment = {"MCP_WAIT_FOR": f"{LOOPBACK}:{listener.getsockname()[1]}", name: value}
        status, out, errors = ended(entrypoint, **environment)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"{name}: expected .*, got {re.escape(value)}\n", errors)


def test_a_host_that_cannot_be_one_is_one_sentence(entrypoint: Path) -> None:
    place = f"{'a' * 64}.example:1"
    status, out, errors = ended(entrypoint, MCP_WAIT_FOR=place, MCP_WAIT_SECONDS="0")
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"MCP_WAIT_FOR: {place} accepts no connections: ")


def test_sigterm_ends_the_waiting(entrypoint: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        places = f"{LOOPBACK}:{listener.getsockname()[1]} {LOOPBACK}:{free_port()}"
        with started(entrypoint, "echo", "served", MCP_WAIT_FOR=places, MCP_WAIT_SECONDS="600") as process:
            listener.settimeout(SECONDS)
            listener.accept()[0].close()
            process.terminate()
            process.wait(SECONDS)
            assert process.returncode == -signal.SIGTERM
