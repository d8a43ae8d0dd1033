"""`manage.py mcp_deploy`: what is committed is what it emits, the same each time; wrong options are named."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import translation

from mcp_transport.deployment import TARGETS

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "deploy"


def options() -> list[str]:
    """Return what the committed set was emitted with, as its README says."""
    line = re.search(r"^python manage\.py mcp_deploy (.+)$", (COMMITTED / "README.md").read_text(), re.MULTILINE)
    assert line is not None
    return line[1].split()


def deploy(*words: str) -> str:
    out = StringIO()
    # How the project itself is looked at: tests/deploy/test_fresh_project.py.
    call_command("mcp_deploy", *words, "--no-trial", stdout=out, stderr=StringIO())
    return out.getvalue()


@pytest.fixture
def demonstration(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the settings that the demonstration has, where emitted files depend on them."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "mcpsite.settings")
    settings.ASGI_APPLICATION = "mcpsite.asgi.application"
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.staticfiles"]
    settings.STATIC_ROOT = "staticfiles"
    settings.STATIC_URL = "/static/"
    settings.MCP_TRANSPORT = {}


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if (path.is_file() and path.name != "README.md") or path.parent.name in TARGETS
    }


@pytest.mark.usefixtures("demonstration")
def test_what_is_committed_is_what_is_emitted(tmp_path: Path) -> None:
    deploy(*options(), "-o", str(tmp_path))
    emitted = files(tmp_path)
    assert {name.split("/")[0] for name in emitted} == set(TARGETS)
    assert emitted == files(COMMITTED)


@pytest.mark.usefixtures("demonstration")
def test_check_accepts_what_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert deploy(*options(), "--check") == ""


@pytest.mark.parametrize("target", TARGETS)
def test_check_finds_what_is_stale(target: str, tmp_path: Path) -> None:
    deploy(target, "-o", str(tmp_path))
    assert deploy(target, "-o", str(tmp_path), "--check") == ""
    one = next(path for path in sorted((tmp_path / target).rglob("*")) if path.is_file())
    one.write_text(one.read_text() + "\n")
    with pytest.raises(CommandError, match=f"Not up to date: .*{re.escape(one.name)}"):
        deploy(target, "-o", str(tmp_path), "--check")
    one.unlink()
    with pytest.raises(CommandError, match="Not up to date"):
        deploy(target, "-o", str(tmp_path), "--check")
    deploy(target, "-o", str(tmp_path))
    (tmp_path / target / "mine.txt").write_text("")
    with pytest.raises(CommandError, match=r"Not emitted: .*mine\.txt"):
        deploy(target, "-o", str(tmp_path), "--check")


def test_the_language_of_the_project_changes_nothing(settings: Any, tmp_path: Path) -> None:
    deploy("all", "-o", str(tmp_path / "one"))
    settings.USE_THOUSAND_SEPARATOR = True
    with translation.override("de"):
        deploy("all", "-o", str(tmp_path / "two"))
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--name", "Shop_1"),
        ("--name", "a" * 41),
        ("--host", "shop.example.com/mcp"),
        ("--host", "shop\nevil"),
        ("--path", "mcp"),
        ("--settings-module", "shop settings"),
        ("--application", "shop.asgi"),
        ("--server", "apache"),
        ("--port", "80"),
        ("--port", "70000"),
        ("--image", "shop;rm"),
        ("--base-image", ""),
        ("--namespace", "Shop"),
        ("--secrets", "redis-url"),
        ("--nodes", "1"),
        ("--most-nodes", "2"),
        ("--most-nodes", "5001"),
        ("--nodes", "-1"),
        ("--nodes", "0"),
        ("--nodes", "5001"),
        ("--port", "65534"),
        ("--https-port", "80"),
        ("--static-url", "static"),
        ("--static-root", "a b"),
        ("--affinity", "cookie"),
        ("--certificate", "relative.pem"),
        ("--certificate-key", "/etc/ssl/a b"),
        ("--upstreams", "a:b"),
        ("--listen", "everywhere"),
        ("--http-port", "0"),
        ("--https-port", "65536"),
        ("--haproxy-metrics-port", "-1"),
        ("--directory", "srv"),
        ("--subnet", "172.28.7.0"),
        ("--subnet", "172.28.7.0/31"),
        ("--monitor", "nagios"),
        ("--ingress-class", "_"),
        ("--ingress-namespace", "A"),
        ("--monitoring-namespace", "a.b"),
    ],
)
def test_a_bad_value_is_named_and_nothing_is_written(option: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"^{option}: "):
        deploy("all", f"{option}={value}", "-o", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("nagios",), ("nginx", "--tls=maybe"), ("nginx", "--port=many"), ("nginx", "--nope")]
)
def test_what_argparse_refuses(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        deploy(*words, "-o", str(tmp_path))


def test_nothing_secret_is_written(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "canary-of-a-secret"
    settings.SECRET_KEY = secret
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"redis://:{secret}@localhost:6379/0"}
    settings.CACHES = {"default": cache}
    for name in ("DJANGO_SECRET_KEY", "REDIS_URL"):
        monkeypatch.setenv(name, secret)
    deploy("all", "-o", str(tmp_path))
    assert not [name for name, text in files(tmp_path).items() if secret in text]
