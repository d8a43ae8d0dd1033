"""What is imported when: the SDK and the apps' `mcp.py` by servers and checks, not by commands that serve nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import preloaded

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SETTINGS = """
import sys
from pathlib import Path

sys.path.append(ROOT)

from tests.support.settings import *

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("db")}}
INSTALLED_APPS = [
    "daphne",
    *[name for name in INSTALLED_APPS if name.startswith("django.")],
    "django.contrib.staticfiles",
    "rest_framework",
    "mcp_transport",
    "mcp_transport.contrib.audit",
    "mcp_transport.contrib.doctor",
    "mcp_transport.contrib.tokens",
    "goods",
]
ROOT_URLCONF = "shop_urls"
ASGI_APPLICATION = "shop_asgi.application"
STATIC_URL, STATIC_ROOT = "static/", Path(__file__).with_name("static")
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
    for name, source in (("settings", f"ROOT = {str(ROOT)!r}\n{SETTINGS}"), ("urls", URLS), ("asgi", ASGI)):
        (tmp_path / f"shop_{name}.py").write_text(source)
    return tmp_path


def run(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(project), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "DJANGO_SETTINGS_MODULE": "shop_settings", **variables}
    return subprocess.run(  # noqa: S603
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=120
    )


def imported(project: Path, *arguments: str, **variables: str) -> list[str]:
    done = run(project, "-c", COMMAND, *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("imported:")]
    return line.split()[1:]


@pytest.mark.parametrize(
    "commands",
    [
        ["shell -c pass"],
        ["migrate -v 0", "createsuperuser --noinput --username ann --email ann@example.com", "dumpdata auth"],
        ["collectstatic --noinput -v 0"],
        ["makemigrations --check"],
        ["showmigrations"],
        ["diffsettings"],
    ],
    ids=lambda commands: commands[0],
)
def test_command_that_serves_nobody_imports_no_sdk(commands: list[str], project: Path) -> None:
    for command in commands:
        assert imported(project, *command.split(), DJANGO_SUPERUSER_PASSWORD="something long") == [], command


@pytest.mark.parametrize("command", ["check", "mcp_tools list"])
def test_check_and_own_commands_import_what_is_declared(command: str, project: Path) -> None:
    assert {"mcp", "pydantic", "goods.mcp"} <= set(imported(project, *command.split()))


DECLARED = ["add", "mcp_doctor_events"]


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
    assert run(project, "-c", f"{setup}\n{show}").stdout.split() == DECLARED


def test_shell_has_the_declarations_at_first_use(project: Path) -> None:
    show = "from mcp_transport import bootstrap; print(*bootstrap.configured_server()._tool_manager._tools)"
    assert run(project, "-m", "django", "shell", "-v", "0", "-c", show).stdout.split() == DECLARED


def test_check_that_a_shell_calls_sees_mistakes(project: Path) -> None:
    (project / "goods/mcp.py").write_text(BROKEN)
    program = "from django.core.management import call_command; call_command('check')"
    done = run(project, "-m", "django", "shell", "-c", program)
    assert "DefinitionError: the tool 'add' is declared twice" in done.stderr


RUNSERVER = ["-m", "django", "runserver", "--noreload", "127.0.0.1:0"]


@pytest.mark.parametrize(
    ("arguments", "server"),
    [
        (["-m", "django", "check"], "daphne"),
        (RUNSERVER, "daphne"),
        (RUNSERVER, "django"),  # whose own runserver it is, then
        ([*RUNSERVER, "--skip-checks"], "daphne"),
        ([*RUNSERVER, "--skip-checks"], "django"),
        (["-m", "daphne", "-p", "0", "shop_asgi:application"], "daphne"),
        (["-m", "uvicorn", "--port", "0", "shop_asgi:application"], "daphne"),
        (
            ["-m", "gunicorn", "-b", "127.0.0.1:0", "-k", "uvicorn_worker.UvicornWorker", "shop_asgi:application"],
            "daphne",
        ),
    ],
    ids=str,
)
def test_server_does_not_start_with_a_mistake_in_a_declaration(
    arguments: list[str], server: str, project: Path
) -> None:
    (project / "goods/mcp.py").write_text(BROKEN)
    if server == "django":
        path = project / "shop_settings.py"
        path.write_text(path.read_text().replace('    "daphne",\n', ""))
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop_settings"}
    # Here the SDK is loaded already, as it is in a server sooner or later.
    done = preloaded.run([sys.executable, *arguments], cwd=project, env=environment, timeout=120)
    assert done.returncode != 0
    assert "DefinitionError: the tool 'add' is declared twice" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("shadow", "arguments"),
    [("mcp.py", ["-m", "django", "shell", "-c", "pass"]), ("mcp/__init__.py", ["-m", "django", "check"])],
)
def test_module_that_hides_the_sdk_is_named(shadow: str, arguments: list[str], project: Path) -> None:
    path = project / shadow
    path.parent.mkdir(exist_ok=True)
    path.write_text(TOOL)
    done = run(project, *arguments)
    assert done.returncode != 0
    assert f"ImproperlyConfigured: {path} shadows the package 'mcp' of the MCP SDK. Rename it" in done.stderr
