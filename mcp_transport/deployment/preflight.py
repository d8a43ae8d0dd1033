"""A preflight check of the project in a process of its own, with the environment that the emitted files set."""

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

from mcp_transport.deployment.docker import THROWAWAY
from mcp_transport.deployment.options import Deployment

__all__ = ["ProjectReport", "fault_of", "run"]

_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectReport:
    """What the project is with that environment; no secret is among it."""

    settings_fault: str = ""
    """Why the settings cannot be loaded; then nothing else is known."""
    application_fault: str = ""
    """Why the application cannot be imported."""
    is_debug: bool = False
    has_host: bool = True
    knows_https: bool = True
    """It believes the header by which the emitted proxies say that a client speaks HTTPS."""
    has_example_key: bool = False
    """The secret key is the one that `startproject` has written."""
    backend: str = ""
    cache: str = ""
    sqlite: dict[str, str] = field(default_factory=dict)
    """Files of SQLite, by the alias of their database."""
    has_static_files: bool = False
    static_root: str = ""
    serves_static_files: bool = False
    """By itself, or they are on another host."""
    paths: list[str] = field(default_factory=list)
    """Where the endpoint is, as far as that can be told."""


def run(deployment: Deployment) -> ProjectReport:
    """Return what a deployment's project is; it is asked as its containers will run it."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", __name__, deployment.application, deployment.host, deployment.path],
        env=_environment(deployment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    try:
        return ProjectReport(**json.loads(done.stdout.rpartition("\n")[2]))
    except ValueError:  # it ended itself, or was killed
        *_, last = f"exit status {done.returncode}", *done.stderr.strip().splitlines()
        return ProjectReport(settings_fault=last)


def _environment(deployment: Deployment) -> dict[str, str]:
    """Return the variables of the emitted files, with secrets that are made up, beside those of this process."""
    return {
        **os.environ,
        **{name: THROWAWAY.get(name) or secrets.token_urlsafe(50) for name in deployment.variables},
        "DJANGO_SETTINGS_MODULE": deployment.settings_module,
        "DJANGO_DEBUG": "false",
        "DJANGO_ALLOWED_HOSTS": deployment.host,
        "DJANGO_TRUSTED_PROXIES": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def _report(application: str, host: str, path: str) -> ProjectReport:
    """Load the settings and the application of this process."""
    import django

    try:
        django.setup()
        facts = _settings_facts(host)
    except Exception as error:
        return ProjectReport(settings_fault=_summary(error))
    fault = fault_of(application)  # imports it: an endpoint that it mounts is known afterwards
    return ProjectReport(**facts, application_fault=fault, paths=_paths(path))


def _settings_facts(host: str) -> dict[str, Any]:
    from django.conf import settings
    from django.http.request import validate_host

    from mcp_transport import bootstrap, conf, static_files

    databases, header = settings.DATABASES.items(), getattr(settings, "SECURE_PROXY_SSL_HEADER", None)
    return {
        "is_debug": bool(settings.DEBUG),
        "has_host": validate_host(host, settings.ALLOWED_HOSTS),
        "knows_https": [*(header or ())] == ["HTTP_X_FORWARDED_PROTO", "https"],
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
    """Return where the endpoint is: where it is mounted, where the URLconf has it, and `path` if it answers there."""
    from django.urls import get_script_prefix, resolve, reverse

    from mcp_transport.asgi import MOUNTED
    from mcp_transport.views import endpoint_view

    prefix = get_script_prefix().rstrip("/")
    found = {place for mounted in MOUNTED for place in (mounted, prefix + mounted)}
    with suppress(Exception):  # it is under a name of its own, or not in the URLconf, or that is broken
        found.add(reverse("mcp_transport:endpoint").rstrip("/"))
    with suppress(Exception):
        if resolve(path.removeprefix(prefix)).func is endpoint_view:
            found.add(path)
    return sorted(found - {""})  # the root is no --path


def fault_of(application: str) -> str:
    """Return why this process cannot serve an application; nothing if it can."""
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
    found = json.dumps(asdict(_report(*sys.argv[1:])))
    # On a line of its own: settings may print, too.
    sys.stdout.write(f"\n{found}")
