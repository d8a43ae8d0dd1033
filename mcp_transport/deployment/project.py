"""Defaults from the running settings: application, host, static files."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.urls import reverse

from mcp_transport import session_backend, static_files
from mcp_transport.deployment import forms

__all__ = [
    "default_output",
    "defaults",
    "exists",
    "is_inside",
    "relative_folder",
    "root",
    "usual_application",
    "usual_handler",
]

_PUBLIC_HOST: Final = r"(?!localhost$|.*\.localhost$|[0-9.]+$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]+"


def defaults() -> dict[str, Any]:
    """Return the options of a deployment that the settings determine."""
    module = os.environ["DJANGO_SETTINGS_MODULE"]
    values = {"settings_module": module, "application": _application(), "host": _host()}
    values |= {"python_path": _python_path(module), "path": _path()}
    values |= {"table": session_backend.table_name(), "lambda_handler": usual_handler(module)}
    return {name: value for name, value in values.items() if value} | _static_files()


def exists(module: str) -> bool:
    """Return whether a module exists; only its parent packages are imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def root() -> Path:
    """Return the folder of manage.py, or the working directory if another program runs the command."""
    program = Path(sys.argv[0])
    return program.resolve().parent if program.name == "manage.py" else Path.cwd()


def is_inside(output: Path) -> bool:
    """Return whether a folder is inside the project's folder."""
    return output.resolve().is_relative_to(root())


def relative_folder(output: Path) -> str:
    """Return a path relative to the project's folder."""
    return output.resolve().relative_to(root()).as_posix()


def _application() -> str:
    """Return the ASGI application: ASGI_APPLICATION, or the `asgi.py` near wsgi.py or the settings."""
    if setting := getattr(settings, "ASGI_APPLICATION", None):
        module, _, attribute = setting.rpartition(".")
        return f"{module}:{attribute}"
    nearby = [getattr(settings, "WSGI_APPLICATION", None) or "", os.environ["DJANGO_SETTINGS_MODULE"]]
    packages = [package for name in nearby for package in _packages(name)]
    modules = [f"{package}.asgi".removeprefix(".") for package in packages]
    return next((f"{module}:application" for module in modules if exists(module)), "")


def _python_path(module: str) -> str:
    """Return the folder from which the settings are imported, if it is inside the project's folder."""
    package = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return ""
    origin = spec.origin if spec is not None else None
    places = [*(spec.submodule_search_locations or ())] if spec is not None else []
    folder = Path(places[0] if places else origin or "").resolve().parent
    is_own = folder.is_relative_to(root()) and not folder.is_relative_to(Path(sys.prefix).resolve())
    return folder.relative_to(root()).as_posix() if is_own else ""


def _path() -> str:
    """Return the path of the endpoint in the URLconf; empty if it is elsewhere, or the URLconf cannot be loaded."""
    with suppress(Exception):
        path = reverse("mcp_transport:endpoint").rstrip("/")
        return path if re.fullmatch(forms.PATH.pattern, path) else ""
    return ""


def default_output() -> Path:
    """Return the folder `deploy` in the project's folder, relative to the working directory if it is in there."""
    output, here = root() / "deploy", Path.cwd()
    return output.relative_to(here) if output.is_relative_to(here) else output


def usual_application(settings_module: str) -> str:
    """Return the file in which `startproject` puts the ASGI application."""
    package, dot, _ = settings_module.partition(".")
    return f"{package}/asgi.py" if dot else "asgi.py"


def usual_handler(settings_module: str) -> str:
    """Return the handler of AWS Lambda in the package of the settings."""
    package, dot, _ = settings_module.partition(".")
    return f"{package}.lambda_handler.handler" if dot else "lambda_handler.handler"


def _packages(name: str) -> list[str]:
    """Return the parent packages of a dotted name, nearest first; "" is the project's folder."""
    parts = name.split(".")[:-1]
    return [".".join(parts[:length]) for length in range(len(parts), -1, -1)]


def _host() -> str:
    """Return the first public host of ALLOWED_HOSTS."""
    return next((host for host in settings.ALLOWED_HOSTS if re.fullmatch(_PUBLIC_HOST, host)), "")


def _static_files() -> dict[str, Any]:
    """Return options for static files: whether they are collected, and where, if a proxy has to serve them."""
    static_root = getattr(settings, "STATIC_ROOT", None)
    if not (static_root and "django.contrib.staticfiles" in settings.INSTALLED_APPS):
        return {"static_files": False}
    if static_files.are_served():
        return {}
    path = (root() / static_root).resolve()
    inside = path.relative_to(root()) if path.is_relative_to(root()) else path
    return {"static_url": settings.STATIC_URL, "static_root": str(inside)}
