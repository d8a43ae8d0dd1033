"""What is imported when: the SDK and the apps' `mcp.py` by servers and checks, not by commands that serve nobody."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps

from mcp_transport import discovery, server
from mcp_transport.exceptions import DefinitionError

ROOT = Path(__file__).parents[2]
SETTINGS = """
from pathlib import Path

SECRET_KEY = "a-key-for-tests-only-which-protects-nothing-at-all"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("db")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "mcp_transport",
    "mcp_transport.contrib.audit",
    "mcp_transport.contrib.doctor",
    "mcp_transport.contrib.tokens",
    "goods",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
ROOT_URLCONF = "shop_urls"
ASGI_APPLICATION = "shop_asgi.application"
STATIC_URL, STATIC_ROOT = "static/", Path(__file__).with_name("static")
USE_TZ = True
"""
URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("mcp", include("mcp_transport.urls")),
    path("mcp-api/", include("mcp_transport.api.urls")),
    path("", include("mcp_transport.health")),
    path("", include("mcp_transport.metrics")),
    path("", include("mcp_transport.well_known")),
]
"""
ASGI = """
from django.core.asgi import get_asgi_application

application = get_asgi_application()
"""
TOOL = """
from mcp_transport import tool


@tool
def add(a: int, b: int) -> int:
    return a + b
"""
BROKEN = f"{TOOL}\n\n@tool(name='add')\ndef again(a: int) -> int:\n    return a\n"
COMMAND = """
import sys
from django.core.management import execute_from_command_line

try:
    execute_from_command_line(["manage.py", *sys.argv[1:]])
finally:
    names = ("mcp", "mcp_types", "pydantic", "httpx2", "goods.mcp")
    print("imported:", *[name for name in names if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "goods").mkdir()
    (tmp_path / "goods/__init__.py").touch()
    (tmp_path / "goods/mcp.py").write_text(TOOL)
    for name, source in (("settings", SETTINGS), ("urls", URLS), ("asgi", ASGI)):
        (tmp_path / f"shop_{name}.py").write_text(source)
    return tmp_path


def run(project: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(project), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "DJANGO_SETTINGS_MODULE": "shop_settings", **variables}
    return subprocess.run(  # noqa: S603
        [sys.executable, *words], cwd=project, env=environment, capture_output=True, text=True, timeout=120
    )


def imported(project: Path, *words: str, **variables: str) -> list[str]:
    done = run(project, "-c", COMMAND, *words, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("imported:")]
    return line.split()[1:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "shell -c pass",
        "migrate -v 0",
        "collectstatic --noinput -v 0",
        "makemigrations --check",
        "showmigrations",
        "diffsettings",
        "dumpdata auth",
    ],
)
def test_command_that_serves_nobody_imports_no_sdk(command: str, project: Path) -> None:
    if command.startswith("dumpdata"):
        run(project, "-m", "django", "migrate", "-v", "0")
    assert imported(project, *command.split()) == []


@pytest.mark.slow
def test_superuser_is_made_without_the_sdk(project: Path) -> None:
    run(project, "-m", "django", "migrate", "-v", "0")
    words = ("createsuperuser", "--noinput", "--username", "ann", "--email", "ann@example.com")
    assert imported(project, *words, DJANGO_SUPERUSER_PASSWORD="something long") == []


@pytest.mark.slow
@pytest.mark.parametrize("command", ["check", "mcp_tools list"])
def test_check_and_own_commands_import_what_is_declared(command: str, project: Path) -> None:
    assert {"mcp", "pydantic", "goods.mcp"} <= set(imported(project, *command.split()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "setup",
    [
        "import django; django.setup()",
        "from django.core.asgi import get_asgi_application as get; get()",
        "from django.core.wsgi import get_wsgi_application as get; get()",
    ],
)
def test_process_that_may_serve_has_the_declarations_at_once(setup: str, project: Path) -> None:
    show = "from mcp_transport.server import declared; print(*declared.tools)"
    assert run(project, "-c", f"{setup}\n{show}").stdout.split() == ["add", "mcp_doctor_events"]


@pytest.mark.slow
def test_shell_has_the_declarations_at_first_use(project: Path) -> None:
    show = "from mcp_transport import bootstrap; print(*bootstrap.served_server()._tool_manager._tools)"
    done = run(project, "-m", "django", "shell", "-v", "0", "-c", show)
    assert done.stdout.split() == ["add", "mcp_doctor_events"]


@pytest.mark.slow
def test_check_that_a_shell_calls_sees_mistakes(project: Path) -> None:
    (project / "goods/mcp.py").write_text(BROKEN)
    program = "from django.core.management import call_command; call_command('check')"
    done = run(project, "-m", "django", "shell", "-c", program)
    assert "DefinitionError: the tool 'add' is declared twice" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["-m", "django", "check"],
        ["-m", "django", "runserver", "--noreload", "127.0.0.1:0"],
        ["-m", "django", "runserver", "--noreload", "--skip-checks", "127.0.0.1:0"],
        ["-m", "daphne", "-p", "0", "shop_asgi:application"],
        ["-m", "uvicorn", "--port", "0", "shop_asgi:application"],
        ["-m", "gunicorn", "-b", "127.0.0.1:0", "-k", "uvicorn_worker.UvicornWorker", "shop_asgi:application"],
    ],
    ids=lambda words: " ".join(words[1:3]),
)
@pytest.mark.parametrize("server", ["daphne", "django"])
def test_server_does_not_start_with_a_mistake_in_a_declaration(words: list[str], server: str, project: Path) -> None:
    (project / "goods/mcp.py").write_text(BROKEN)
    if server == "django":  # whose own runserver it is, then
        path = project / "shop_settings.py"
        path.write_text(path.read_text().replace('    "daphne",\n', ""))
    done = run(project, *words)
    assert done.returncode != 0
    assert "DefinitionError: the tool 'add' is declared twice" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shadow", ["mcp.py", "mcp/__init__.py"])
@pytest.mark.parametrize("words", [["-m", "django", "shell", "-c", "pass"], ["-m", "django", "check"]])
def test_module_that_hides_the_sdk_is_named(shadow: str, words: list[str], project: Path) -> None:
    path = project / shadow
    path.parent.mkdir(exist_ok=True)
    path.write_text(TOOL)
    done = run(project, *words)
    assert done.returncode != 0
    assert f"ImproperlyConfigured: {path} hides the MCP SDK, whose package is named mcp, too. Move it" in done.stderr


# -- a discovery that fails ------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, declarations: Any) -> Any:
    """Two new apps, the second with a mistake, in a process that has discovered nothing yet."""
    for name in ("early_goods", "late_goods"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "early_goods", "late_goods"]
    monkeypatch.setattr(discovery, "_discovered", discovery._discovered - {"early_goods", "late_goods"})
    (tmp_path / "early_goods/mcp.py").write_text(TOOL)
    (tmp_path / "late_goods/tools.py").write_text(TOOL.replace("def add", "def late"))
    (tmp_path / "late_goods/mcp.py").write_text("import late_goods.tools\nimport no_such_module\n")
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("early_goods", "late_goods")]:
        del sys.modules[name]


def test_discovery_that_failed_leaves_nothing_and_can_be_tried_again(installed: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            apps.get_app_config("mcp_transport").ready()
        assert list(server.declared.tools) == []
    (installed / "late_goods/mcp.py").write_text("import late_goods.tools\n")
    importlib.invalidate_caches()
    apps.get_app_config("mcp_transport").ready()
    assert list(server.declared.tools) == ["add", "late"]
    apps.get_app_config("mcp_transport").ready()
    assert list(server.declared.tools) == ["add", "late"]


def test_name_that_is_declared_twice_is_still_refused(installed: Path) -> None:
    (installed / "late_goods/mcp.py").write_text(TOOL)
    importlib.invalidate_caches()
    for _ in range(2):
        with pytest.raises(DefinitionError, match="'add' is declared twice"):
            discovery.discover()
