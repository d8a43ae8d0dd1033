"""Projects of `startproject` with the package added as in the quick start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from django.core.management import call_command

from tests.support.processes import ROOT

SECONDS = 60.0

TOOL = '''\
from mcp_transport import tool


@tool(read_only=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b
'''
URLS = """
from django.urls import include

urlpatterns += [path("mcp", include("mcp_transport.urls")), path("", include("mcp_transport.health"))]
"""
PRODUCTION = """
import os

DEBUG = False
SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]
ALLOWED_HOSTS = os.environ["DJANGO_ALLOWED_HOSTS"].split(",")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["REDIS_URL"]}}
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}}
STATIC_ROOT = BASE_DIR / "staticfiles"
MIDDLEWARE.insert(1, "whitenoise.middleware.WhiteNoiseMiddleware")
"""


def project(folder: Path, name: str = "shop", more: str = "") -> Path:
    """Create a project and return its folder."""
    folder.mkdir()
    call_command("startproject", name, str(folder))
    append(folder / name / "settings.py", f'\nINSTALLED_APPS += ["mcp_transport", "{name}"]\n{more}')
    append(folder / name / "urls.py", URLS)
    (folder / name / "mcp.py").write_text(TOOL)
    return folder


def append(path: Path, text: str) -> None:
    """Append to a file of the project."""
    path.write_text(path.read_text() + text)


def manage(
    folder: Path, *arguments: str, program: str = "manage.py", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of the project; the package under test is on its path."""
    return subprocess.run(  # noqa: S603
        [sys.executable, program, *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a project's processes, without the tests' own settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "REDIS_"))}
    path = os.pathsep.join(filter(None, (str(ROOT), variables.get("PYTHONPATH"))))
    return {**own, **variables, "PYTHONPATH": path}


# -- projects of other shapes, each with all files: the folder, and what the command said --------------------------

Shape = Callable[[Path], tuple[Path, subprocess.CompletedProcess[str]]]


def settings_package(parent: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Settings for each environment in a package: shop/settings/base.py."""
    folder = project(parent / "package")
    (folder / "shop/settings").mkdir()
    (folder / "shop/settings/__init__.py").touch()
    (folder / "shop/settings.py").rename(folder / "shop/settings/base.py")
    for name in ("manage.py", "shop/asgi.py", "shop/wsgi.py"):
        path = folder / name
        path.write_text(path.read_text().replace("shop.settings", "shop.settings.base"))
    return folder, manage(folder, "mcp_deploy", "all", "--no-preflight")


def src_layout(parent: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Packages in src, which manage.py puts on the path."""
    folder = project(parent / "layout")
    (folder / "src").mkdir()
    (folder / "shop").rename(folder / "src/shop")
    path = folder / "manage.py"
    line = 'sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "src"))'
    path.write_text(path.read_text().replace("import sys\n", f"import sys\n\n{line}\n", 1))
    return folder, manage(folder, "mcp_deploy", "all")


def subfolder(parent: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A project in a folder of the repository, whose root is the working directory."""
    (parent / "repository").mkdir()
    folder = project(parent / "repository/backend")
    return folder, manage(folder.parent, "mcp_deploy", "all", "--no-preflight", program="backend/manage.py")


def script_name(parent: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A site below a path."""
    folder = project(parent / "below", more='FORCE_SCRIPT_NAME = "/tools"\n')
    return folder, manage(folder, "mcp_deploy", "all")


SHAPES: list[Shape] = [settings_package, src_layout, subfolder, script_name]
