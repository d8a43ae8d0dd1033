"""`manage.py mcp_deploy`: the committed files are up to date and reproducible; errors name the invalid option."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import translation

from mcp_transport.deployment import TARGETS, folder
from mcp_transport.management.commands.mcp_deploy import Command

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "deploy"


def options() -> list[str]:
    """Return the options of the committed files, from their README."""
    line = re.search(r"^python manage\.py mcp_deploy (.+)$", (COMMITTED / "README.md").read_text(), re.MULTILINE)
    assert line is not None
    return line[1].split()


def deploy(*arguments: str) -> str:
    out = StringIO()
    # The preflight is tested in tests/deploy/test_fresh_project.py.
    call_command("mcp_deploy", *arguments, "--no-preflight", stdout=out, stderr=StringIO())
    return out.getvalue()


@pytest.fixture
def demonstration(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the demonstration's settings on which generated files depend."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "mcpsite.settings")
    settings.ASGI_APPLICATION = "mcpsite.asgi.application"
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.staticfiles"]
    settings.STATIC_ROOT = "staticfiles"
    settings.STATIC_URL = "/static/"
    settings.MCP_TRANSPORT = {}


def files(place: Path) -> dict[str, str]:
    """Return the files of all targets, without what the tools of AWS have put beside them."""
    return {
        path.relative_to(place).as_posix(): path.read_text()
        for target in TARGETS
        for path in sorted((place / folder(target)).rglob("*"))
        if path.is_file() and {"build", "cdk.out", "node_modules"}.isdisjoint(path.parts)
    }


@pytest.mark.usefixtures("demonstration")
def test_what_is_committed_is_what_is_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(*options(), "-o", str(tmp_path))
    generated = files(tmp_path)
    assert {name.split("/")[0] for name in generated} == {folder(target).split("/")[0] for target in TARGETS}
    assert generated == files(COMMITTED)
    monkeypatch.chdir(ROOT)
    assert deploy(*options(), "--check") == ""


@pytest.mark.parametrize("target", TARGETS)
def test_check_finds_what_is_stale(target: str, tmp_path: Path) -> None:
    deploy(target, "-o", str(tmp_path))
    assert deploy(target, "-o", str(tmp_path), "--check") == ""
    place = tmp_path / folder(target)
    one = next(path for path in sorted(place.rglob("*")) if path.is_file())
    one.write_text(one.read_text() + "\n")
    with pytest.raises(CommandError, match=f"Not up to date: .*{re.escape(one.name)}"):
        deploy(target, "-o", str(tmp_path), "--check")
    one.unlink()
    with pytest.raises(CommandError, match="Not up to date"):
        deploy(target, "-o", str(tmp_path), "--check")
    deploy(target, "-o", str(tmp_path))
    (place / "build").mkdir()
    (place / "build/of-a-tool.txt").write_text("")
    assert deploy(target, "-o", str(tmp_path), "--check") == ""
    (place / "mine.txt").write_text("")
    with pytest.raises(CommandError, match=r"Not generated: .*mine\.txt"):
        deploy(target, "-o", str(tmp_path), "--check")


def test_the_language_of_the_project_changes_nothing(settings: Any, tmp_path: Path) -> None:
    deploy("all", "-o", str(tmp_path / "one"))
    settings.USE_THOUSAND_SEPARATOR = True
    with translation.override("de"):
        deploy("all", "-o", str(tmp_path / "two"))
    assert files(tmp_path / "one") == files(tmp_path / "two")


BAD_VALUES = {
    "--name": ["Shop_1", "a" * 41],
    "--host": ["shop.example.com/mcp", "shop\nevil", "EXAMPLE.com", "[::1]"],
    "--path": ["mcp", "/../mcp", "/mcp/", "//mcp"],
    "--settings-module": ["shop settings"],
    "--application": ["shop.asgi"],
    "--server": ["apache"],
    "--port": ["80", "70000", "65534"],
    "--image": ["shop;rm"],
    "--base-image": [""],
    "--namespace": ["Shop"],
    "--secrets": ["redis-url"],
    "--max-replicas": ["2", "0", "5001"],
    "--min-replicas": ["-1", "0", "5001"],
    "--https-port": ["80", "65536"],
    "--static-url": ["static", "/a/../"],
    "--static-root": ["a b", "../x", "/srv/../x"],
    "--affinity": ["cookie"],
    "--certificate": ["relative.pem", "/etc/./x.pem"],
    "--certificate-key": ["/etc/ssl/a b"],
    "--upstreams": ["a:b", "a:99999", "a:65536", "a:0", "a:8000,b:8000,a:8000"],
    "--directory": ["/srv/..", "srv"],
    "--listen": ["everywhere"],
    "--http-port": ["0"],
    "--haproxy-metrics-port": ["-1"],
    "--subnet": ["172.28.7.0", "172.28.7.0/31"],
    "--monitor": ["nagios"],
    "--ingress-class": ["_"],
    "--ingress-annotation": ["a", "a b=c", "a/b/c=d", "a=b\nc: d"],
    "--ingress-network": ["10.0.0.0"],
    "--env": ["A", "a=b", "A=b c", "A=$HOME", "DJANGO_DEBUG=true", "REDIS_URL=x"],
    "--python-path": ["/srv", "../src"],
    "--cpu-request": ["0", "half", "1Gi"],
    "--memory-limit": ["512", "0Mi", "1m"],
    "--cpu-percent": ["0", "1001"],
    "--p95-operations": ["tools/list;ping", 'a"b', "a,"],
    "--service-type": ["ExternalName"],
    "--routes": ["mesh"],
    "--gateway": ["", "A"],
    "--public-paths": ["admin", "/admin/", "/a,,/b"],
    "--cluster-issuer": ["Lets Encrypt"],
    "--egress-ports": ["", "0", "70000", "redis"],
    "--dns": ["8.8.8.8"],
    "--trusted-proxies": ["10.0.0.1"],
    "--nginx-layout": ["sites-enabled"],
    "--ingress-namespace": ["A"],
    "--monitoring-namespace": ["a.b"],
    "--cron-start": ["8:00", "@daily"],
    "--regions": ["europe-west1", "us_east_1", "us-east-1,", "US-EAST-1", "us-east-1,us-east-1"],
    "--store": ["memcached"],
    "--table": ["ab", "a b c", "x" * 256],
    "--lambda-handler": ["handler", "shop/lambda.handler"],
    "--lambda-runtime": ["python3.11", "nodejs20.x"],
    "--reserved-concurrency": ["0", "1001"],
    "--provisioned-concurrency": ["-1", "101", "1001"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values]
)
def test_a_bad_value_is_named_and_nothing_is_written(option: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"^{option}: ") as refused:
        deploy("all", f"{option}={value}", "-o", str(tmp_path))
    assert not re.search(r"\[A-Z|\[a-z|\\w|\(\?", str(refused.value).replace(value, "")), "no regular expression"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--host", "EXAMPLE.com", "must be a lower-case DNS name such as mcp.example.com, got 'EXAMPLE.com'"),
        ("--path", "/mcp/", "must be a path that starts with / and does not end with /, got '/mcp/'"),
        ("--upstreams", "a:1,a:1", "each address must be unique, got a:1 2 times"),
    ],
)
def test_a_bad_value_is_explained_in_words(option: str, value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"^{re.escape(f'{option}: {message}')}$"):
        deploy("all", f"{option}={value}", "-o", str(tmp_path))


SCHEDULE = {
    "--cron-start": "0 8 * * 1-5",
    "--cron-end": "0 18 * * 1-5",
    "--cron-timezone": "Europe/Berlin",
    "--cron-replicas": "10",
}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--cron-start", "", "expected five fields, minute hour day month weekday, such as"),
        ("--cron-end", "", "expected five fields"),
        ("--cron-end", "0 8 * * 1-5", "must differ from --cron-start"),
        ("--cron-end", "0 24 * * 1-5", "the hour must be *, numbers from 0 to 23, ranges"),
        ("--cron-start", "0 8 * * 7", "the day of the week must be *, numbers from 0 to 6 or sun to sat, ranges"),
        ("--cron-timezone", "Berlin", "expected the name of a time zone such as Europe/Berlin, got 'Berlin'"),
        ("--cron-replicas", "0", "expected a number from --min-replicas, 3, to --max-replicas, 50, got 0"),
        ("--cron-replicas", "51", "expected a number from --min-replicas, 3, to --max-replicas, 50, got 51"),
    ],
)
def test_a_wrong_schedule_is_explained(option: str, value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"^{option}: {re.escape(message)}"):
        values = {**SCHEDULE, option: value}
        deploy("kubernetes", *(f"{name}={value}" for name, value in values.items()), "-o", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_schedule_replaces_the_autoscaler(tmp_path: Path) -> None:
    deploy("kubernetes", *(f"{name}={value}" for name, value in SCHEDULE.items()), "-o", str(tmp_path))
    assert not (tmp_path / "kubernetes/autoscaler.yaml").exists()
    assert 'desiredReplicas: "10"' in (tmp_path / "kubernetes/scaled-object.yaml").read_text()


def test_the_former_names_of_options_are_accepted_and_hidden(tmp_path: Path) -> None:
    deploy("kubernetes", "--min-replicas=4", "--max-replicas=7", "-o", str(tmp_path / "new"))
    deploy("kubernetes", "--nodes=4", "--most-nodes=7", "-o", str(tmp_path / "old"))
    assert files(tmp_path / "new") == files(tmp_path / "old")
    assert "minReplicas: 4\n  maxReplicas: 7\n" in files(tmp_path / "old")["kubernetes/autoscaler.yaml"]
    help_text = Command().create_parser("manage.py", "mcp_deploy").format_help()
    assert "--min-replicas" in help_text
    assert not re.search("--nodes|--most-nodes", help_text)


def test_any_port_of_tcp_may_be_an_upstream_s(tmp_path: Path) -> None:
    for port in (1, 80, 9999, 10000, 59999, 65535):
        deploy("nginx", f"--upstreams=a:{port}", "-o", str(tmp_path))


SECRETS = (
    "DJANGO_SECRET_KEY,REDIS_URL,DJANGO_ALLOWED_HOSTS,DJANGO_DEBUG,DJANGO_TRUSTED_PROXIES,DJANGO_SETTINGS_MODULE,"
    "REDIS_PASSWORD,TLS_CERTIFICATE,LOG_LEVEL,POD_IP,PUBLIC_HOSTS,DJANGO_SECRET_KEY"
)


def test_no_variable_is_set_twice(tmp_path: Path) -> None:
    deploy("all", f"--secrets={SECRETS}", "--static-files=yes", "-o", str(tmp_path))
    compose = re.split(r"\n(?=\S)", (tmp_path / "compose/compose.yaml").read_text())
    [node] = [part for part in compose if part.startswith("x-node")]
    lists = {
        "compose.yaml": re.findall(r"^    (\w+):", node, re.M),
        ".env.example": re.findall(r"^(\w+)=", (tmp_path / "compose/.env.example").read_text(), re.M),
        "deployment.yaml": re.findall(
            r"^            - name: ([A-Z_]+)$", (tmp_path / "kubernetes/deployment.yaml").read_text(), re.M
        ),
    }
    for name, keys in lists.items():
        assert {"DJANGO_SECRET_KEY", "LOG_LEVEL"} <= {*keys}, name
        assert sorted(keys) == sorted({*keys}), name
    [build] = re.findall(r"&& (.*)python manage.py collectstatic", (tmp_path / "docker/Dockerfile").read_text())
    assert "DJANGO_ALLOWED_HOSTS=" in build, "settings may insist on it"
    assert not re.search("DJANGO_SETTINGS_MODULE|DJANGO_DEBUG", build), "the image has them"


@pytest.mark.parametrize(
    "arguments", [("nagios",), ("nginx", "--tls=maybe"), ("nginx", "--port=many"), ("nginx", "--nope")]
)
def test_what_argparse_refuses(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        deploy(*arguments, "-o", str(tmp_path))


def test_nothing_secret_is_written(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "canary-of-a-secret"
    settings.SECRET_KEY = secret
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"redis://:{secret}@localhost:6379/0"}
    settings.CACHES = {"default": cache}
    for name in ("DJANGO_SECRET_KEY", "REDIS_URL"):
        monkeypatch.setenv(name, secret)
    deploy("all", "-o", str(tmp_path))
    assert not [name for name, text in files(tmp_path).items() if secret in text]
