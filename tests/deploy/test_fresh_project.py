"""`mcp_deploy` in projects of `startproject`: generated files start the project, and warnings name faults."""

from __future__ import annotations

import json
import re
import shlex
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from mcp_transport.deployment import TARGETS, Deployment, preflight, project
from mcp_transport.domain.policy import Policy
from tests.deploy import fresh, units
from tests.deploy.proxies import Nginx
from tests.support.docs import readme_quick_start
from tests.support.http.answer import last_message
from tests.support.node import Node
from tests.support.processes import LOOPBACK, start_all, stop_all
from tests.support.programs import need

pytestmark = pytest.mark.slow

# Ignores a proxy of the environment.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

BIN = Path(sys.executable).parent

CALL = next(text for language, text in readme_quick_start() if language == "sh" and text.startswith("curl"))


class Started(Node):
    """A node started by a generated command line in the project's folder."""

    def __init__(self, folder: Path, line: list[str], variables: dict[str, str]) -> None:
        super().__init__("daphne", environment=fresh.environment(**variables), name=f"node-of-{folder.name}")
        self.root, self.line = folder, line

    def inherited(self) -> Any:
        return super(Node, self).inherited()  # the command line binds its own port

    def environment(self) -> dict[str, str]:
        return self.variables

    def command(self) -> list[str]:
        program, *arguments = [argument.replace("%i", str(self.port)) for argument in self.line]
        return [str(BIN / Path(program).name), *arguments]


def called(port: int, path: str = "/mcp") -> Any:
    """Call the tool of the quick start."""
    body = re.findall(r"--data '(.*?)'", CALL, re.S)[0].encode()
    headers = dict(pair.split(": ", 1) for pair in re.findall(r'--header "([^"]+)"', CALL))
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}", body, headers)
    with opener.open(request, timeout=20) as answer:
        return last_message(answer.read().decode())["result"]["structuredContent"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompletedProcess[str]]:
    """Create the quick start's project and deploy it; return its folder and the completed command."""
    folder = fresh.project(tmp_path_factory.mktemp("home") / "shop")
    return folder, fresh.manage(folder, "mcp_deploy", "all")


# -- what is generated starts --------------------------------------------------------------------------------


def by_unit(folder: Path) -> Started:
    """Start what the unit starts, in the environment of the unit; `folder` is the project's."""
    unit = units.parsed((folder / "deploy/systemd/mcp@.service").read_text())
    variables = dict(pair.split("=", 1) for line in unit["Service.Environment"] for pair in line.split())
    own = {name: value.replace("/srv/mcp", str(folder)) for name, value in variables.items()}
    return Started(folder, shlex.split(unit["Service.ExecStart"][0]), own)


def by_image(folder: Path) -> Started:
    """Start what the image starts, in the environment of the image."""
    text = (folder / "deploy/docker/Dockerfile").read_text()
    variables = dict(re.findall(r"^(?:ENV)? +(DJANGO_SETTINGS_MODULE|PYTHONPATH)=(\S+)", text, re.M))
    line = text.rpartition("\nCMD ")[2].replace("0.0.0.0", LOOPBACK).replace("8000", "%i")  # noqa: S104
    own = {name: value.replace("/app", str(folder)) for name, value in variables.items()}
    return Started(folder, json.loads(line), own)


@pytest.mark.servers
def test_what_is_generated_starts_projects_of_each_shape(
    shop: tuple[Path, CompletedProcess[str]], tmp_path: Path
) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = [*pool.map(lambda shape: shape(tmp_path), fresh.SHAPES)]
    projects = [(shop[0], shop[1]), *made]
    nodes = []
    for folder, done in projects:
        assert done.returncode == 0, done.stderr
        assert "The endpoint is at" not in done.stderr
        nodes.append(by_unit(folder))
    nodes += [by_image(folder) for folder, _ in (projects[0], projects[2])]
    scripted = projects[-1][0]
    assert "location /tools/mcp {" in (scripted / "deploy/nginx/nginx.conf").read_text()
    try:
        start_all(nodes)
        for node in nodes:
            path = "/tools/mcp" if node.root == scripted else "/mcp"
            assert called(node.port, path) == {"result": 5}, node.root
    finally:
        stop_all(nodes)


@pytest.mark.parametrize(
    ("files", "settings_module", "named", "application"),
    [
        (["a1/asgi.py"], "a1.settings", {}, "a1.asgi:application"),
        (["a2/asgi.py", "a2/settings/base.py"], "a2.settings.base", {}, "a2.asgi:application"),
        (["a3/asgi.py", "conf3/production.py"], "conf3.production", {"WSGI": "a3.wsgi.app"}, "a3.asgi:application"),
        (["a4/asgi.py", "b4/asgi.py"], "b4.settings", {"WSGI": "a4.wsgi.application"}, "a4.asgi:application"),
        (["a5/asgi.py"], "a5.settings", {"ASGI": "a5.routing.root"}, "a5.routing:root"),
        (["a6/asgi.py"], "a6.settings", {"WSGI": "gone.wsgi.application"}, "a6.asgi:application"),
        (["a7/app/settings/x.py", "a7/asgi.py"], "a7.app.settings.x", {}, "a7.asgi:application"),
        ([], "a8.settings", {}, None),
    ],
)
def test_the_application_is_the_project_s_own(
    files: list[str],
    settings_module: str,
    named: dict[str, str],
    application: str | None,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", settings_module)
    settings.ASGI_APPLICATION, settings.WSGI_APPLICATION = named.get("ASGI"), named.get("WSGI")
    assert project.defaults().get("application") == application


@pytest.mark.parametrize(
    ("application", "fault"),
    [
        ("mcpsite.asgi:application", ""),
        ("mcpsite.nope:application", "ModuleNotFoundError: No module named 'mcpsite.nope'"),
        ("mcpsite.asgi:app", "AttributeError: module 'mcpsite.asgi' has no attribute 'app'"),
        ("mcpsite.wsgi:application", "it is a WSGI application"),
    ],
)
def test_an_application_that_cannot_be_served_has_a_fault(application: str, fault: str) -> None:
    assert preflight.application_error_of(application) == fault


def test_what_cannot_start_is_refused(tmp_path: Path) -> None:
    for arguments, output in (
        (["--application", "shop.nope:application"], "--application: shop.nope:application cannot be served ("),
        (["--settings-module", "shop.nope"], "--settings-module: shop.nope cannot be found"),
    ):
        with pytest.raises(CommandError, match=f"^{re.escape(output)}") as refused:
            call_command("mcp_deploy", "docker", "-o", str(tmp_path / "deploy"), *arguments)
        if "--application" in arguments:
            assert str(refused.value).endswith(", or create tests/asgi.py as startproject does.")
    assert not (tmp_path / "deploy").exists()


def test_the_application_has_a_usual_file() -> None:
    for settings_module, file in {
        "shop.settings": "shop/asgi.py",
        "shop.settings.base": "shop/asgi.py",
        "settings": "asgi.py",
    }.items():
        assert project.usual_application(settings_module) == file


HIDDEN = {
    "/home/x/shop": "/home",
    "/root/shop": "/root",
    "/run/user/1000/shop": "/run/user",
    "/tmp/shop": "/tmp",  # noqa: S108
    "/var/tmp/shop": "/var/tmp",  # noqa: S108
    "/homes/shop": "",
    "/srv/home/shop": "",
}


@pytest.mark.parametrize("directory", HIDDEN)
def test_a_folder_that_units_do_not_see_is_warned_of(directory: str, tmp_path: Path) -> None:
    for target in ("systemd", "nginx"):
        output = deployed(target, "-o", str(tmp_path), "--directory", directory)
        is_warned = f"cannot read {HIDDEN[directory]} (" in output
        assert is_warned is bool(HIDDEN[directory] and target == "systemd")


MOUNTED = """
from mcp_transport.asgi import mount

application = mount(application, path="/tools/mcp")
"""


def test_the_endpoint_is_found_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fresh.project(tmp_path / "moved", "moved")
    urls = folder / "moved/urls.py"
    urls.write_text(urls.read_text().replace('path("mcp",', 'path("api/mcp",'))
    fresh.append(urls, 'urlpatterns += [path("own/mcp", include(("mcp_transport.urls", "own")))]\n')
    fresh.append(folder / "moved/asgi.py", MOUNTED)
    monkeypatch.syspath_prepend(folder)
    names: dict[str, Any] = {"settings_module": "moved.settings", "application": "moved.asgi:application"}
    report = preflight.run(Deployment(policy=Policy(), path="/own/mcp", **names))
    assert report.paths == ["/api/mcp", "/own/mcp", "/tools/mcp"]


# -- warnings ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_quick_start_s_project_is_warned(shop: tuple[Path, CompletedProcess[str]]) -> None:
    folder, done = shop
    written = sorted(str(path.relative_to(folder)) for path in (folder / "deploy").rglob("*") if path.is_file())
    assert sorted(done.stdout.splitlines()) == written, "the standard output has paths alone"
    lines = done.stderr.splitlines()
    assert all(line.startswith("Warning: ") for line in lines)
    *lines, packages, handler, image = lines
    assert image.startswith("Warning: The image mcp:latest has no version")
    assert packages.startswith(f"Warning: {folder} has no requirements.txt")
    assert handler.startswith("Warning: shop.lambda_handler cannot be found: create it with")
    topics = ("DEBUG", "ALLOWED_HOSTS", "SECURE_PROXY_SSL_HEADER", "SECRET_KEY", "Sessions", "SQLite", "STATIC_ROOT")
    assert [topic for topic, line in zip(topics, lines, strict=True) if topic in line] == [*topics]


PRODUCTION = ("--settings-module", "shop.production", "--image", "shop:1.0")


@pytest.mark.slow
def test_settings_for_production_are_not_warned(shop: tuple[Path, CompletedProcess[str]]) -> None:
    folder, _ = shop
    (folder / "shop/production.py").write_text(f"from shop.settings import *\n{fresh.PRODUCTION}")
    for name in ("requirements.txt", "shop/lambda_handler.py"):
        (folder / name).touch()
    done = fresh.manage(folder, "mcp_deploy", "all", "-o", "ops", *PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_check_says_nothing_of_the_project() -> None:
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="Not up to date"):
        call_command("mcp_deploy", "docker", "-o", "nowhere", "--check", stdout=out, stderr=err)
    assert (out.getvalue(), err.getvalue()) == ("", "")


# -- files that refer to each other ------------------------------------------------------------------------


def deployed(*arguments: str) -> str:
    """Return the command's standard error."""
    err = StringIO()
    call_command("mcp_deploy", *arguments, "--no-preflight", stdout=StringIO(), stderr=err)
    return err.getvalue()


@pytest.mark.parametrize(
    ("output", "folder", "context"),
    [
        ("ops", "ops", "../.."),
        ("infra/ops", "infra/ops", "../../.."),
        ("./ops/", "ops", "../.."),
        (".", ".", ".."),
        ("{here}/ops", "ops", "../.."),
    ],
)
def test_compose_finds_the_dockerfile_and_the_dockerfile_its_entrypoint(
    output: str, folder: str, context: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for target in ("docker", "compose"):
        deployed(target, "-o", output.format(here=tmp_path))
    compose = tmp_path / folder / "compose"
    build = yaml.safe_load((compose / "compose.yaml").read_text())["services"]["migrate"]["build"]
    assert build["context"] == context
    assert (compose / context).resolve() == tmp_path
    dockerfile = tmp_path / build["dockerfile"]
    [files] = re.findall(r"^ARG FILES=(\S+)$", dockerfile.read_text(), re.M)
    assert (tmp_path / files / "entrypoint.sh").is_file()
    ignored = (dockerfile.parent / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[-1] == f"!{files}/entrypoint.sh"
    assert (folder in ignored) is (folder != ".")


def test_a_folder_elsewhere_is_to_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    for target in TARGETS:
        output = deployed(target, "-o", str(tmp_path / "elsewhere"))
        moved = f"{tmp_path}/elsewhere is outside the project's folder: move the files to {tmp_path}/project/deploy"
        assert (moved in output) is (target in {"docker", "compose", "aws-lambda"}), target
    assert "dockerfile: deploy/docker/Dockerfile" in (tmp_path / "elsewhere/compose/compose.yaml").read_text()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for output in ("my ops", "ops;rm", "öps:x"):  # not allowed in file names
        with pytest.raises(CommandError, match=r"^--output: "):
            deployed("docker", "-o", output)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "ops").write_text("")
    with pytest.raises(CommandError, match=r"^--output: .*ops"):
        deployed("docker", "-o", "ops")


# -- static files ------------------------------------------------------------------------------------------


@pytest.mark.servers
def test_nginx_serves_what_the_project_has_collected(tmp_path: Path) -> None:
    need("nginx")
    folder = fresh.project(tmp_path / "shop", more='STATIC_ROOT = BASE_DIR / "collected"\n')
    assert fresh.manage(folder, "collectstatic", "--noinput").returncode == 0
    arguments = ("nginx", "--no-preflight", "--directory", str(folder), "--upstreams", f"{LOOPBACK}:1")
    assert fresh.manage(folder, "mcp_deploy", *arguments).returncode == 0
    generated = (folder / "deploy/nginx/nginx.conf").read_text()
    options: dict[str, Any] = {"directory": str(folder), "static_url": "/static/", "static_root": "collected"}
    with Nginx([1], **options) as nginx:
        [part] = re.findall(r"^ {8}location /static/ {\n.*?}\n", nginx.generated(), re.M | re.S)
        assert part in generated
        address = f"http://{LOOPBACK}:{nginx.port}/static/admin/css/base.css"
        with opener.open(address, timeout=20) as answer:
            assert answer.headers["Content-Type"] == "text/css"
            assert b"--primary" in answer.read()
