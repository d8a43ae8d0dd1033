"""The generated units, verified by systemd and by rules that it cannot check."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from mcp_transport.deployment import Deployment, generate
from mcp_transport.deployment.options import SERVERS
from mcp_transport.domain.policy import Policy
from tests.deploy import units
from tests.support.processes import program
from tests.support.programs import need

every_server = pytest.mark.parametrize("server", SERVERS)


def deployment(**options: object) -> Deployment:
    return Deployment(policy=Policy(), **options)  # type: ignore[arg-type]


def analyze(*words: str, folder: Path) -> tuple[int, str]:
    """Run systemd-analyze on units in a folder; this needs no running systemd."""
    done = subprocess.run(  # noqa: S603
        [program("systemd-analyze"), *words], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def installed(folder: Path, edit: tuple[str, str] = ("", ""), **options: object) -> Path:
    """Write the units and a server that they start."""
    spec = deployment(directory=str(folder), **options)
    server = folder / ".venv/bin" / spec.server
    server.parent.mkdir(parents=True)
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    for name, text in generate("systemd", spec).items():
        (folder / name).write_text(text.replace(*edit))
    return folder


@pytest.mark.servers
@every_server
def test_systemd_finds_no_fault(server: str, tmp_path: Path) -> None:
    need("systemd-analyze")
    folder = installed(tmp_path, server=server)
    assert analyze("verify", "./mcp@8000.service", "./mcp.target", folder=folder) == (0, "")


@pytest.mark.servers
def test_one_node_may_do(tmp_path: Path) -> None:
    need("systemd-analyze")
    folder = installed(tmp_path, min_replicas=1, max_replicas=1)
    assert analyze("verify", "./mcp@8000.service", "./mcp.target", folder=folder) == (0, "")
    target = units.parsed((folder / "mcp.target").read_text())
    assert (target["Unit.Wants"], target["Unit.Description"]) == (["mcp@8000.service"], ["mcp on 1 port"])


@pytest.mark.servers
@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (("KillMode=mixed", "KillMod=mixed"), "'KillMod'"),
        (("TimeoutStopSec=", "TimeoutStopSec=soon"), "Failed to parse time value"),
        (("/bin/", "/sbin/"), "is not executable"),
    ],
)
def test_systemd_finds_a_fault(edit: tuple[str, str], fault: str, tmp_path: Path) -> None:
    need("systemd-analyze")
    _, output = analyze("verify", "./mcp@8000.service", folder=installed(tmp_path, edit))
    assert fault in output


@pytest.mark.servers
def test_node_can_do_little(tmp_path: Path) -> None:
    need("systemd-analyze")
    folder = installed(tmp_path)
    # systemd's exposure of 100; 14 are the network and features that Python needs.
    assert analyze("security", "--offline=true", "--threshold=20", "./mcp@.service", folder=folder)[0] == 0
    (folder / "mcp@.service").write_text(
        re.sub(r"(?m)^(Protect|Capab).*\n", "", (folder / "mcp@.service").read_text())
    )
    assert analyze("security", "--offline=true", "--threshold=20", "./mcp@.service", folder=folder)[0] != 0


def test_node_has_its_time_to_stop() -> None:
    spec = deployment()
    unit = units.node(spec)
    assert unit["Service.KillSignal"] == ["SIGTERM"]
    assert unit["Service.KillMode"] == ["mixed"]  # gunicorn and granian signal their workers themselves
    assert unit["Service.TimeoutStopSec"] == [str(spec.termination_timeout)]
    assert spec.termination_timeout > spec.drain + 10


def test_secrets_are_named_and_read_from_a_file() -> None:
    spec = deployment(secrets="DJANGO_SECRET_KEY,REDIS_URL,TOKEN")
    text = generate("systemd", spec)["mcp@.service"]
    assert units.parsed(text)["Service.EnvironmentFile"] == ["/etc/mcp/secrets.env"]
    for name in spec.secret_names:
        assert name in text
        assert f"{name}=" not in text


def test_a_node_has_the_environment_that_containers_have() -> None:
    spec = deployment(host="shop.example.com", settings_module="shop.settings")
    own = dict(pair.split("=", 1) for line in units.node(spec)["Service.Environment"] for pair in line.split())
    node = yaml.safe_load(generate("compose", spec)["compose.yaml"])["services"]["mcp-1"]["environment"]
    config = next(
        document["data"]
        for document in yaml.safe_load_all(generate("kubernetes", spec)["config.yaml"])
        if document["kind"] == "ConfigMap"
    )
    last = generate("docker", spec)["Dockerfile"].rpartition("\nFROM ")[2]
    image = dict(re.findall(r"^(?:ENV| ) +(\w+)=([^$\s]+)", last, re.M))
    del image["PATH"]
    assert own.keys() | {"LOG_LEVEL"} >= {*node, *config, *image} - {*spec.secret_names}
    assert own["DJANGO_DEBUG"] == node["DJANGO_DEBUG"] == config["DJANGO_DEBUG"] == image["DJANGO_DEBUG"] == "false"
    # Only this machine connects to a node directly: Prometheus and operators.
    assert own["DJANGO_ALLOWED_HOSTS"].split(",") == ["shop.example.com", "127.0.0.1"]
    assert own["DJANGO_TRUSTED_PROXIES"] == "127.0.0.1"
    assert own.items() >= image.items()


@every_server
def test_each_instance_has_its_port_on_this_machine_alone(server: str) -> None:
    [line] = units.node(deployment(server=server), 8002)["Service.ExecStart"]
    assert line.startswith(f"/srv/mcp/.venv/bin/{server} ")
    assert "8002" in line
    assert re.findall(r"\d+\.\d+\.\d+\.\d+", line) == ["127.0.0.1"]
    assert line.endswith(" config.asgi:application")


def test_target_starts_all_instances() -> None:
    spec = deployment(name="shop", min_replicas=2, port=9000)
    target = units.parsed(generate("systemd", spec)["shop.target"])
    assert target["Unit.Wants"] == ["shop@9000.service", "shop@9001.service"]
    assert units.node(spec)["Unit.PartOf"] == ["shop.target"]
