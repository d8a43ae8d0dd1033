"""The generated compose.yaml: its schema, properties of all services, and Redis with its command line."""

# ruff: noqa: S603 (the commands are this project's own)
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_transport.deployment import Deployment, generate
from mcp_transport.deployment.docker import health_check
from mcp_transport.domain.policy import Policy
from tests.support.processes import program
from tests.support.programs import need
from tests.support.redis.server import RedisServer

BIN = Path(sys.executable).parent
SECONDS = 20.0
OPTIONS: list[dict[str, Any]] = [
    {},
    {"min_replicas": 1, "max_replicas": 1},
    {"tls": False, "min_replicas": 2, "name": "shop", "port": 9000, "http_port": 8080},
    {
        "min_replicas": 60,
        "max_replicas": 60,
        "secrets": "DJANGO_SECRET_KEY,DATABASE_URL,REDIS_URL",
        "server": "granian",
    },
    {"policy": Policy(drain=61.5), "listen": "10.0.0.1", "upstreams": "elsewhere:1"},
]

STATIC: dict[str, Any] = {"static_url": "/static/", "static_root": "collected"}
OWN = ("redis:/data", "metrics:/prometheus")
PUBLIC = {f"DJANGO_{name}" for name in ("SETTINGS_MODULE", "DEBUG", "ALLOWED_HOSTS", "TRUSTED_PROXIES")}

every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "defaults")


def deployed(**options: Any) -> Deployment:
    return Deployment(**{"policy": Policy(), **options})


def composed(**options: Any) -> dict[str, Any]:
    result: dict[str, Any] = yaml.safe_load(generate("compose", deployed(**options))["compose.yaml"])
    return result


def nodes(file: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: item for name, item in file["services"].items() if re.fullmatch(rf"{file['name']}-\d+", name)}


# -- the file ----------------------------------------------------------------------------------------------


def against_schema(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "compose.yaml").write_text(text)
    line = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(folder / "compose.yaml")]
    return subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.slow
@every_option
def test_it_fits_the_schema(options: dict[str, Any], tmp_path: Path) -> None:
    for more in ({}, STATIC):
        result = against_schema(generate("compose", deployed(**options, **more))["compose.yaml"], tmp_path)
        assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_the_schema_finds_a_planted_fault(tmp_path: Path) -> None:
    text = generate("compose", deployed())["compose.yaml"]
    assert against_schema(text.replace("read_only:", "readonly:"), tmp_path).returncode == 1


@every_option
def test_generating_twice_gives_the_same(options: dict[str, Any]) -> None:
    assert generate("compose", deployed(**options)) == generate("compose", deployed(**options))
    assert list(generate("compose", deployed(**options))) == [
        *("compose.yaml", ".env.example", "nginx.conf"),
        *("prometheus/prometheus.yml", "prometheus/nodes.yaml", "prometheus/rules.yaml"),
    ]


# -- properties of all services ----------------------------------------------------------------------------


@every_option
def test_no_service_writes_or_gains_rights(options: dict[str, Any]) -> None:
    for name, service in composed(**options)["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "/tmp" in service["tmpfs"], name  # noqa: S108
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert not {"privileged", "cap_add", "init"} & service.keys(), name
        assert "stop_grace_period" in service, name
        assert service["healthcheck"] if name != "migrate" else service["healthcheck"] == {"disable": True}
        assert all(volume.endswith(":ro") for volume in service.get("volumes", []) if volume not in OWN)


@every_option
def test_secrets_are_names_alone(options: dict[str, Any]) -> None:
    deployment = deployed(**options)
    files = generate("compose", deployment)
    required = set(re.findall(r"\$\{(\w+)", files["compose.yaml"]))
    assert all(rf"${{{name}:?set {name}}}" in files["compose.yaml"] for name in required)
    assert required >= {*deployment.secret_names, "REDIS_PASSWORD"} - {"REDIS_URL"}
    lines = [line for line in files[".env.example"].splitlines() if line and not line.startswith("#")]
    assert {line.partition("=")[0] for line in lines} == required
    assert all(line.endswith("=") for line in lines), "names only"
    for service in yaml.safe_load(files["compose.yaml"])["services"].values():
        for name, value in service.get("environment", {}).items():
            assert name in PUBLIC or re.search(r"\$\{\w+:\?set \w+\}", value), name


# -- the nodes ---------------------------------------------------------------------------------------------


@every_option
def test_every_node_is_alike(options: dict[str, Any]) -> None:
    deployment = deployed(**options)
    file = composed(**options)
    assert len(nodes(file)) == deployment.min_replicas
    for service in nodes(file).values():
        assert service["stop_grace_period"] == f"{deployment.termination_timeout}s"
        assert int(service["stop_grace_period"][:-1]) > deployment.policy.drain + 10
        assert service["environment"]["REDIS_URL"] == "redis://:${REDIS_PASSWORD:?set REDIS_PASSWORD}@redis:6379/0"
        addresses = [node["networks"]["nodes"]["ipv4_address"] for node in nodes(file).values()]
        assert service["environment"]["DJANGO_ALLOWED_HOSTS"].split(",") == [deployment.host, *addresses]
        assert service["healthcheck"]["test"] == ["CMD", *health_check(deployment)]
        assert (service["image"], service["pull_policy"]) == (deployment.image, "never")
        assert service["depends_on"]["redis"] == {"condition": "service_healthy"}
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert service["networks"].keys() == {"nodes", "store"}
        assert "command" not in service, "the image knows"
        assert "ports" not in service, "nobody gets past nginx"


@every_option
def test_nginx_finds_each_node_where_it_is(options: dict[str, Any]) -> None:
    deployment = deployed(**options)
    file = composed(**options)
    addresses = [service["networks"]["nodes"]["ipv4_address"] for service in nodes(file).values()]
    result = re.findall(r"^\s*server ([\d.]+:\d+)", generate("compose", deployment)["nginx.conf"], re.M)
    assert result == [f"{address}:{deployment.port}" for address in addresses]
    listens = re.findall(r"^\s*listen (\S+):", generate("compose", deployment)["nginx.conf"], re.M)
    assert {*listens} == {"0.0.0.0"}, "in a container there is no other address to listen on"  # noqa: S104
    [network] = file["networks"]["nodes"]["ipam"]["config"]
    assert len({*addresses, network["gateway"]}) == deployment.min_replicas + 1
    for address in map(IPv4Address, addresses):
        assert address in IPv4Network(network["subnet"])
        assert address not in IPv4Network(network["ip_range"]), "Docker might have given it away"
    nginx = file["services"]["nginx"]
    assert nginx["depends_on"] == {name: {"condition": "service_healthy"} for name in nodes(file)}
    assert "./nginx.conf:/etc/nginx/nginx.conf:ro" in nginx["volumes"]
    ports = [deployment.http_port, *([deployment.https_port] if deployment.tls else [])]
    assert nginx["ports"] == [f"{port}:{port}" for port in ports]
    mounted = {volume.split(":")[-2] for volume in nginx["volumes"]}
    assert ({deployment.certificate, deployment.certificate_key} <= mounted) is deployment.tls


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"subnet": "10.0.0.0/33"}, "--subnet: .*"),
        ({"subnet": "10.0.0.1/24"}, "--subnet: .*"),
        ({"subnet": "10.0.0.0/29"}, r"--subnet: 10.0.0.0/29 is too small for 3 nodes \(--min-replicas\)"),
    ],
)
def test_a_subnet_that_cannot_be_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        generate("compose", deployed(**options))
    generate("compose", deployed(subnet="10.0.0.0/28", min_replicas=6))


def test_the_image_is_built_and_migrations_run_once() -> None:
    services = composed()["services"]
    built = {name: service["build"] for name, service in services.items() if "build" in service}
    assert built == {"migrate": {"context": "../..", "dockerfile": "deploy/docker/Dockerfile"}}
    migrate = services["migrate"]
    assert migrate["command"] == ["python", "manage.py", "migrate", "--noinput"]
    assert (migrate["restart"], "migrate" in migrate["depends_on"]) == ("no", False)
    assert "MCP_MIGRATE" not in generate("compose", deployed())["compose.yaml"]


def test_the_store_is_for_the_nodes_alone() -> None:
    file = composed()
    redis = file["services"]["redis"]
    assert redis["networks"] == ["store"]
    assert file["networks"]["store"] == {"internal": True}
    assert "ports" not in redis
    assert "store" not in file["services"]["nginx"]["networks"]
    assert redis["volumes"] == ["redis:/data"]
    assert "redis" in file["volumes"]


def test_prometheus_is_asked_for_and_finds_each_node() -> None:
    files = generate("compose", deployed())
    prometheus = composed()["services"]["prometheus"]
    assert (prometheus["profiles"], prometheus["networks"]) == (["monitoring"], ["nodes"])
    assert all(port.startswith("127.0.0.1:") for port in prometheus["ports"]), "it has no password"
    [target] = yaml.safe_load(files["prometheus/nodes.yaml"])
    addresses = [node["networks"]["nodes"]["ipv4_address"] for node in nodes(composed()).values()]
    assert target["targets"] == [f"{address}:8000" for address in addresses]


def test_further_variables_reach_the_nodes() -> None:
    for node in nodes(composed(env=("SENTRY_DSN=https://x@y/1", "EMPTY="))).values():
        assert node["environment"].items() >= {"SENTRY_DSN": "https://x@y/1", "EMPTY": ""}.items()


def test_nginx_reads_what_the_image_has_collected() -> None:
    options = {**STATIC, "directory": "/srv/shop"}
    files = generate("compose", deployed(**options))
    services = composed(**options)["services"]
    copy, nginx = services["static"], services["nginx"]
    assert copy["entrypoint"] == ["cp", "-R", "/app/collected/.", "/srv/shop/collected"]
    assert (copy["volumes"], copy["command"], copy["restart"]) == (["static:/srv/shop/collected"], [], "no")
    assert copy["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}, (
        "which builds the image"
    )
    assert (copy["network_mode"], copy["image"], copy["cap_drop"]) == ("none", "mcp:latest", ["ALL"])
    assert "static:/srv/shop/collected:ro" in nginx["volumes"]
    assert nginx["depends_on"]["static"] == {"condition": "service_completed_successfully"}
    assert "alias /srv/shop/collected/;" in files["nginx.conf"]


@pytest.mark.parametrize("missing", ["static_url", "static_root", "static_files"])
def test_without_static_files_nothing_is_copied(missing: str) -> None:
    options = {**STATIC, "static_files": True}
    options[missing] = type(options[missing])()
    file = composed(**options)
    assert ("static" in file["services"], "static" in file["volumes"]) == (False, False)
    assert "alias" not in generate("compose", deployed(**options))["nginx.conf"]


# -- a real Redis ------------------------------------------------------------------------------------------


class ComposedRedis(RedisServer):
    """The local redis-server, started by the command of compose.yaml."""

    def command(self) -> list[str]:
        *shell, script = (argument.replace("$$", "$") for argument in composed()["services"]["redis"]["command"])
        own = f"--bind 127.0.0.1 --port {self.port} --unixsocket {self.socket} --dir {self.folder}"
        return [*shell, f"{script} {own}"]

    def environment(self) -> dict[str, str]:
        path = f"{os.environ['PATH']}:{Path(program('redis-server')).parent}"
        return {**super().environment(), "PATH": path, "REDISCLI_AUTH": self.password}


@pytest.mark.servers
def test_redis_does_what_it_is_told() -> None:
    need("redis-server", "redis-cli")
    [first, *rest] = composed()["services"]["redis"]["healthcheck"]["test"]
    assert first == "CMD"
    with ComposedRedis(password="a password of this test") as redis:
        settings = {name: redis.ask("CONFIG", "GET", name)[name] for name in ("appendonly", "appendfsync", "save")}
        assert settings == {"appendonly": "yes", "appendfsync": "everysec", "save": ""}
        assert redis.ask("CONFIG", "GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert redis.ask("INFO", "server")["process_id"] == redis.pid, "SIGTERM reaches Redis itself"
        assert redis.password not in Path(f"/proc/{redis.pid}/cmdline").read_text()
        line = [program(rest[0]), "-p", str(redis.port), *rest[1:]]
        for password, outcome in ((redis.password, 0), ("wrong", 1)):
            environment = {**os.environ, "REDISCLI_AUTH": password}
            done = subprocess.run(line, env=environment, capture_output=True, timeout=SECONDS, check=False)
            assert done.returncode == outcome, json.dumps(done.stdout.decode())
