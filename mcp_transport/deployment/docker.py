"""Target `docker`: a container image."""

from __future__ import annotations

import json
from typing import Final

from mcp_transport.deployment import server
from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["HEALTH", "PACKAGES", "PLACEHOLDER_SECRETS", "files", "health_check"]

HEALTH: Final = {"interval": 10, "timeout": 5, "start_period": 30, "retries": 3}
"""Parameters of the container's health check; seconds, except for `retries`."""

PACKAGES: Final = {
    "daphne": ["daphne>=4.1,<5"],
    "gunicorn": ["gunicorn>=27,<28", "uvicorn[standard]>=0.40,<1", "uvicorn-worker>=0.3,<1"],
    "uvicorn": ["uvicorn[standard]>=0.40,<1"],
    "granian": ["granian[uvloop]>=2.5,<3"],  # without uvloop the application does not get SIGTERM
}
"""Packages of each server, besides requirements.txt."""

PLACEHOLDER_SECRETS: Final = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "DATABASE_URL": "sqlite://:memory:",
    "DJANGO_TRUSTED_PROXIES": "127.0.0.1",
}
"""Placeholders for secrets that settings parse while they load; any text will do for the others."""

_SET_BY_IMAGE: Final = ("DJANGO_SETTINGS_MODULE", "DJANGO_DEBUG")


def files(deployment: Deployment) -> Files:
    """Return a Dockerfile, its entrypoint and its ignore file."""
    names = [name for name in deployment.variables if name not in _SET_BY_IMAGE]
    context = {
        "command": json.dumps(server.command(deployment)),
        "health": {**HEALTH, "command": json.dumps(health_check(deployment))},
        "packages": PACKAGES[deployment.server],
        "placeholders": {name: PLACEHOLDER_SECRETS.get(name, "$(random)") for name in names},
    }
    return {
        "Dockerfile": render("docker/Dockerfile", deployment, **context),
        "Dockerfile.dockerignore": render("docker/Dockerfile.dockerignore", deployment),
        "entrypoint.sh": render("docker/entrypoint.sh", deployment),
    }


def health_check(deployment: Deployment) -> list[str]:
    """Return the command of the health check; slim images have no curl."""
    # http.client ignores proxies of the environment; the host must be in ALLOWED_HOSTS.
    return [
        *("python", "-I", "-c"),
        f"from http.client import HTTPConnection as C; c = C('127.0.0.1', {deployment.port}, timeout=3); "
        f"c.request('GET', '/healthz', headers={{'Host': '{deployment.host}'}}); "
        "raise SystemExit(c.getresponse().status != 200)",
    ]
