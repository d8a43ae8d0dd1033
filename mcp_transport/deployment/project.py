"""What the running settings say of the project: its application, its host, its static files."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from mcp_transport import static_files

__all__ = ["defaults", "exists", "folder_of", "is_inside", "root", "usual_application"]

_PUBLIC_HOST: Final = r"(?!localhost$|.*\.localhost$|[0-9.]+$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]+"


def defaults() -> dict[str, Any]:
    """Return options of a deployment, as far as the settings have them."""
    known = {"settings_module": os.environ["DJANGO_SETTINGS_MODULE"], "application": _application(), "host": _host()}
    return {name: value for name, value in known.items() if value} | _static_files()


def exists(module: str) -> bool:
    """Tell whether a module can be found; only the packages around it are imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def root() -> Path:
    """Return the folder of manage.py, or where another program that runs the command is."""
    program = Path(sys.argv[0])
    return program.resolve().parent if program.name == "manage.py" else Path.cwd()


def is_inside(output: Path) -> bool:
    """Tell whether a folder is in the project's."""
    return output.resolve().is_relative_to(root())


def folder_of(output: Path) -> str:
    """Return a folder in the project's, as seen from there."""
    return output.resolve().relative_to(root()).as_posix()


def _application() -> str:
    """Return the ASGI application: the one that the settings name, or the `asgi.py` near wsgi.py or the settings."""
    if named := getattr(settings, "ASGI_APPLICATION", None):
        module, _, attribute = named.rpartition(".")
        return f"{module}:{attribute}"
    near = [getattr(settings, "WSGI_APPLICATION", None) or "", os.environ["DJANGO_SETTINGS_MODULE"]]
    packages = [package for name in near for package in _packages(name)]
    modules = [f"{package}.asgi".removeprefix(".") for package in packages]
    return next((f"{module}:application" for module in modules if exists(module)), "")


def usual_application(settings_module: str) -> str:
    """Return the file in which `startproject` writes the ASGI application."""
    package, dot, _ = settings_module.partition(".")
    return f"{package}/asgi.py" if dot else "asgi.py"


def _packages(name: str) -> list[str]:
    """Return the packages around a dotted name, the nearest first; the empty one is the project's folder."""
    parts = name.split(".")[:-1]
    return [".".join(parts[:length]) for length in range(len(parts), -1, -1)]


def _host() -> str:
    """Return the first public name of ALLOWED_HOSTS."""
    return next((host for host in settings.ALLOWED_HOSTS if re.fullmatch(_PUBLIC_HOST, host)), "")


def _static_files() -> dict[str, Any]:
    """Return whether static files are collected, and where a proxy finds them if the project leaves them to it."""
    collected = getattr(settings, "STATIC_ROOT", None)
    if not (collected and "django.contrib.staticfiles" in settings.INSTALLED_APPS):
        return {"static_files": False}
    if static_files.are_served():
        return {}
    place = (root() / collected).resolve()
    inside = place.relative_to(root()) if place.is_relative_to(root()) else place
    return {"static_url": settings.STATIC_URL, "static_root": str(inside)}
