"""Loads the project in a subprocess with the environment of the generated files, and reports its properties."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any, Final

from mcp_transport.deployment.docker import PLACEHOLDER_SECRETS
from mcp_transport.deployment.options import Deployment

__all__ = ["ProjectReport", "application_error_of", "run"]

_TIMEOUT_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectReport:
    """The properties of the project in that environment; contains no secret."""

    settings_error: str = ""
    """Why the settings cannot be loaded; then all other fields have their defaults."""
    application_error: str = ""
    """Why the application cannot be imported."""
    is_debug: bool = False
    has_host: bool = True
    trusts_https_header: bool = True
    """Does it trust the header with which the generated proxies announce HTTPS?"""
    has_example_key: bool = False
    """Is the secret key the one of `startproject`?"""
    backend: str = ""
    cache: str = ""
    sqlite: dict[str, str] = field(default_factory=dict)
    """SQLite files by database alias."""
    has_static_files: bool = False
    static_root: str = ""
    serves_static_files: bool = False
    """Itself, or from another host."""
    paths: list[str] = field(default_factory=list)
    """Paths of the endpoint, as far as they can be determined."""


def run(deployment: Deployment) -> ProjectReport:
    """Return the report of a deployment's project."""
    process = subprocess.run(  # noqa: S603
        [sys.executable, "-m", __name__, deployment.application, deployment.host, deployment.path],
        env=_environment(deployment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    try:
        return ProjectReport(**json.loads(process.stdout.rpartition("\n")[2]))
    except ValueError:  # the process exited early or was killed
        *_, summary = f"exit status {process.returncode}", *process.stderr.strip().splitlines()
        return ProjectReport(settings_error=summary)


def _environment(deployment: Deployment) -> dict[str, str]:
    """Return this process's environment with the variables of the generated files and placeholder secrets."""
    return {
        **os.environ,
        **{name: PLACEHOLDER_SECRETS.get(name) or secrets.token_urlsafe(50) for name in deployment.variables},
        "DJANGO_SETTINGS_MODULE": deployment.settings_module,
        "DJANGO_DEBUG": "false",
        "DJANGO_ALLOWED_HOSTS": deployment.host,
        "DJANGO_TRUSTED_PROXIES": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def _report(application: str, host: str, path: str) -> ProjectReport:
    """Load the settings and the application in this process."""
    import django

    try:
        django.setup()
        settings_report = _settings_report(host)
    except Exception as error:
        return ProjectReport(settings_error=_summary(error))
    import_error = application_error_of(application)  # importing it registers the endpoints that it mounts
    return ProjectReport(**settings_report, application_error=import_error, paths=_paths(path))


def _settings_report(host: str) -> dict[str, Any]:
    from django.conf import settings
    from django.http.request import validate_host

    from mcp_transport import bootstrap, conf, static_files

    databases, header = settings.DATABASES.items(), getattr(settings, "SECURE_PROXY_SSL_HEADER", None)
    return {
        "is_debug": bool(settings.DEBUG),
        "has_host": validate_host(host, settings.ALLOWED_HOSTS),
        "trusts_https_header": [*(header or ())] == ["HTTP_X_FORWARDED_PROTO", "https"],
        "has_example_key": settings.SECRET_KEY.startswith("django-insecure-"),
        "backend": bootstrap.backend_name(),
        "cache": settings.CACHES[conf.get("CACHE")]["BACKEND"].rpartition(".")[2],
        "sqlite": {
            alias: str(options["NAME"])
            for alias, options in databases
            if "sqlite" in str(options.get("ENGINE")) and ":memory:" not in str(options["NAME"])
        },
        "has_static_files": "django.contrib.staticfiles" in settings.INSTALLED_APPS,
        "static_root": str(getattr(settings, "STATIC_ROOT", None) or ""),
        "serves_static_files": static_files.are_served(),
    }


def _paths(path: str) -> list[str]:
    """Return the paths of the endpoint: mounted, in the URLconf, and `path` if it resolves to the endpoint."""
    from django.urls import get_script_prefix, resolve, reverse

    from mcp_transport.asgi import MOUNTED
    from mcp_transport.views import endpoint_view

    prefix = get_script_prefix().rstrip("/")
    paths = {candidate for mounted in MOUNTED for candidate in (mounted, prefix + mounted)}
    with suppress(Exception):  # another URL name, not in the URLconf, or a broken URLconf
        paths.add(reverse("mcp_transport:endpoint").rstrip("/"))
    with suppress(Exception):
        if resolve(path.removeprefix(prefix)).func is endpoint_view:
            paths.add(path)
    return sorted(paths - {""})  # --path cannot be the root


def application_error_of(application: str) -> str:
    """Return why this process cannot serve an application; empty if it can."""
    from django.core.handlers.wsgi import WSGIHandler

    module, _, attribute = application.partition(":")
    try:
        is_wsgi = isinstance(getattr(import_module(module), attribute), WSGIHandler)
    except Exception as error:
        return _summary(error)
    return "it is a WSGI application" if is_wsgi else ""


def _summary(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


if __name__ == "__main__":
    report = json.dumps(asdict(_report(*sys.argv[1:])))
    # On a line of its own: settings may print too.
    sys.stdout.write(f"\n{report}")
