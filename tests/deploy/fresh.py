"""Projects of `startproject` with the package added as in the quick start."""

from __future__ import annotations

import os
import subprocess
import sys
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


def manage(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the project; the package under test is on its path."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "manage.py", *arguments],
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
    return {**own, "PYTHONPATH": str(ROOT), **variables}
