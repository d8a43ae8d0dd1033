"""The plugin for pytest: its fixtures in projects with and without Django, pytest-django and a database."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Where the package is installed, pytest finds the plugin by its entry point.
_INSTALLED = any(found.name == "mcp_transport" for found in entry_points(group="pytest11"))
PLUGIN = () if _INSTALLED else ("-p", "mcp_transport.pytest_plugin")

SETTINGS = """
from tests.support.settings import DEFAULT_AUTO_FIELD, SECRET_KEY

INSTALLED_APPS = [*map("django.contrib.{}".format, ["contenttypes", "auth", "sessions"]), "mcp_transport", "app"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", "TEST": {"NAME": TEST_NAME}}}
"""
URLS = """
from django.urls import include, path

urlpatterns = [path("mcp", include("mcp_transport.urls"))]
"""
TOOLS = """
from django.contrib.auth.models import Group

from mcp_transport import Context, tool


@tool
def add(a: int, b: int) -> int:
    return a + b


@tool
def groups() -> int:
    return Group.objects.count()


@tool
async def count(ctx: Context) -> int:
    await ctx.report_progress(0, 1)
    return await Group.objects.acount()


@tool
def whoami(ctx: Context) -> str:
    return ctx.user.get_username() or "-"
"""
TESTS = """
import threading

import pytest
from django.contrib.auth.models import Group, User
from django.test import TestCase

from mcp_transport.test import MCPClient

both_eras = pytest.mark.parametrize("session", [False, True])


def test_no_database(mcp_client):
    assert mcp_client.call("add", a=2, b=3).result == 5


def test_refused_database(mcp_client):
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        mcp_client.call("groups")


@both_eras
def test_transaction(db, mcp_client_factory, session):
    Group.objects.create(name="a")
    client = mcp_client_factory(session=session)
    assert [client.call(name).result for name in ("groups", "count")] == [1, 1]


@both_eras
@pytest.mark.django_db(transaction=True)
async def test_asynchronous(mcp_client_factory, session):
    await Group.objects.acreate(name="a")
    client = mcp_client_factory(session=session, user=await User.objects.acreate_user("ann"))
    assert [(await client.acall(name)).result for name in ("groups", "count", "whoami")] == [1, 1, "ann"]


@both_eras
def test_late_database(mcp_client_factory, session, db):
    client = mcp_client_factory(session=session, user=User.objects.create_user("ann"))
    assert client.call("whoami").result == "ann"


class Case(TestCase):
    @classmethod
    def setUpTestData(cls):
        Group.objects.create(name="a")
        cls.client_of_class = MCPClient(user=User.objects.create_user("ann"))

    def test_sees(self):
        self.assertEqual(self.client_of_class.call("count").result, 1)
        self.assertEqual(self.client_of_class.call("whoami").result, "ann")

    async def test_sees_asynchronously(self):
        self.assertEqual((await self.client_of_class.acall("count")).result, 1)


def test_threads(mcp_client):
    before = set(threading.enumerate())
    mcp_client.call("add", a=1, b=1)
    assert set(threading.enumerate()) == before
"""


def run(folder: Path, *arguments: str) -> str:
    """Run pytest in a folder of its own, every warning an error; return what it printed, and how it ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    options = ["-q", "-W", "error", "-W", "ignore:unclosed database:ResourceWarning", "-p", "no:cacheprovider"]
    options += ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    command = [sys.executable, "-m", "pytest", "--rootdir", str(folder), "-c", os.devnull, *options, *PLUGIN]
    done = subprocess.run(  # noqa: S603
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    return f"{done.stdout}{done.stderr}\nended with {done.returncode}"


def write_project(folder: Path, test_name: str = "None", tests: str = TESTS) -> None:
    (folder / "app").mkdir()
    (folder / "app/__init__.py").touch()
    (folder / "app/mcp.py").write_text(TOOLS)
    (folder / "settings.py").write_text(SETTINGS.replace("TEST_NAME", test_name))
    (folder / "urls.py").write_text(URLS)
    (folder / "test_it.py").write_text(tests)


def test_plugin_imports_neither_django_nor_the_sdk() -> None:
    program = (
        "import sys, mcp_transport.pytest_plugin\n"
        "print(sorted({'django', 'mcp', 'mcp_types', 'pydantic', 'asgiref'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("plugins", [(), ("-p", "no:django")], ids=["pytest-django", "no pytest-django"])
def test_without_a_django_project_a_run_goes_on_as_before_and_the_fixture_says_what_is_missing(
    tmp_path: Path, plugins: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_its_fixture(mcp_client):\n    pass\n\n\n"
        "def test_it():\n    assert not [name for name in sys.modules if name.startswith('mcp.')]\n"
    )
    printed = run(tmp_path, *plugins)
    assert "mcp_client needs a Django project: install pytest-django and set DJANGO_SETTINGS_MODULE" in printed
    assert "1 passed, 1 error" in printed


@pytest.mark.slow
def test_fixture_needs_no_pytest_django(tmp_path: Path) -> None:
    write_project(
        tmp_path, tests="def test_it(mcp_client):\n    assert mcp_client.call('add', a=2, b=3).result == 5\n"
    )
    (tmp_path / "conftest.py").write_text(
        "import os\n\nimport django\nfrom django.test.utils import setup_test_environment\n\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\ndjango.setup()\nsetup_test_environment()\n"
    )
    printed = run(tmp_path, "-p", "no:django")
    assert "1 passed" in printed, printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("database", "seed"),
    [("None", 1), ("'test.sqlite3'", 2), ("None", 3)],
    ids=["in memory", "in a file", "in memory again"],
)
def test_tests_of_a_project_pass_in_any_order(tmp_path: Path, database: str, seed: int) -> None:
    write_project(tmp_path, database)
    printed = run(tmp_path, "--ds=settings", "-p", "randomly", f"--randomly-seed={seed}")
    assert printed.endswith("ended with 0"), printed
