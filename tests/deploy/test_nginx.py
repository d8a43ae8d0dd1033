"""Lines of the generated nginx.conf whose effect a run would not show; `test_proxies` runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_transport.deployment import Deployment, generate
from mcp_transport.deployment.options import AFFINITIES
from mcp_transport.domain.policy import Policy
from tests.support.processes import program
from tests.support.programs import need

GIXY = Path(sys.executable).parent / "gixy"


def configuration(**options: object) -> str:
    """Return nginx.conf."""
    return generate("nginx", Deployment(policy=Policy(), **options))["nginx.conf"]  # type: ignore[arg-type]


def location(text: str, path: str) -> str:
    """Return the lines of a location."""
    [body] = re.findall(rf"^ {{8}}location {re.escape(path)} {{\n(.*?)^ {{8}}}}$", text, re.M | re.S)
    return str(body)


def faults(text: str, folder: Path) -> list[str]:
    """Return the findings of gixy."""
    path = folder / "nginx.conf"
    path.write_text(text)
    found = subprocess.run([GIXY, "-f", "json", path], capture_output=True, text=True, check=False)  # noqa: S603
    return [f"{item['plugin']}: {item['reason']}" for item in json.loads(found.stdout)]


@pytest.mark.slow
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_gixy_finds_no_fault(affinity: str, tls: bool, tmp_path: Path) -> None:
    assert faults(configuration(affinity=affinity, tls=tls), tmp_path) == []


@pytest.mark.slow
def test_gixy_finds_faults(tmp_path: Path) -> None:
    text = configuration().replace("server_tokens off;", "server_tokens on;").replace("Host $host", "Host $http_host")
    assert {fault.partition(":")[0] for fault in faults(text, tmp_path)} == {"version_disclosure", "host_spoofing"}


def test_streams_are_neither_buffered_nor_compressed() -> None:
    # A run would not show it: nginx also flushes its buffers when a node pauses.
    endpoint = location(configuration(path="/api/mcp"), "/api/mcp")
    assert re.search(r"^ *proxy_buffering off;$", endpoint, re.M)
    assert re.search(r"^ *gzip off;$", endpoint, re.M)


def test_nothing_is_sent_twice() -> None:
    [rule] = re.findall(r"^ *proxy_next_upstream (.*);$", configuration(), re.M)
    assert set(rule.split()) == {"error", "timeout", "http_503"}


def test_nodes_are_never_left_out() -> None:
    servers = re.findall(r"^ *server (\S+) (.*);$", configuration(name="shop", min_replicas=4, port=9000), re.M)
    assert servers == [(f"127.0.0.1:{port}", "max_fails=0") for port in range(9000, 9004)]


def test_timeouts_are_those_of_the_deployment() -> None:
    text = configuration()
    deployment = Deployment(policy=Policy())
    assert f"proxy_read_timeout {deployment.read_timeout}s;" in text
    assert f"proxy_connect_timeout {deployment.connect_timeout}s;" in text
    idle, _ = re.findall(r"^ {8}keepalive_timeout (\d+)s;$", text, re.M)
    assert int(idle) == deployment.idle_timeout < 5  # uvicorn's default; daphne's is 60


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://mcp.example.com$request_uri"),
        ({"https_port": 8443}, "https://mcp.example.com:8443$request_uri"),
    ],
)
def test_http_is_sent_to_one_name(options: dict[str, int], url: str) -> None:
    assert re.findall(r"return 308 (.*);", configuration(**options)) == [url]


def test_plain_http_has_one_server_and_no_certificate() -> None:
    text = configuration(tls=False)
    assert re.findall(r"^ *listen (\S+)", text, re.M) == ["*:80", "[::]:80"]
    assert "ssl" not in text


def test_a_named_address_is_the_only_one() -> None:
    assert {*re.findall(r"^ *listen (\S+):\d+", configuration(listen="10.0.0.1"), re.M)} == {"10.0.0.1"}


@pytest.mark.servers
def test_a_file_for_a_shared_nginx_has_no_name_of_another_site(tmp_path: Path) -> None:
    need("nginx")
    for name in ("shop", "shop-two"):
        options: dict[str, Any] = {
            "affinity": "session",
            "tls": False,
            "host": f"{name}.example.com",
            "http_port": 8080,
        }
        [(file, text)] = generate(
            "nginx", Deployment(policy=Policy(), name=name, nginx_layout="conf.d", **options)
        ).items()
        assert file == f"{name}.conf"
        (tmp_path / file).write_text(text)
    path = tmp_path / "nginx.conf"
    path.write_text(f"events {{}}\nhttp {{ access_log off; include {tmp_path}/shop*.conf; }}\n")
    line = [program("nginx"), "-t", "-e", "stderr", "-c", str(path), "-g", f"pid {tmp_path}/nginx.pid;"]
    checked = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr, checked.stderr
