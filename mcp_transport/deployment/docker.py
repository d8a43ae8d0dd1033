"""A container image."""

from __future__ import annotations

import json
from typing import Final

from mcp_transport.deployment import server
from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["HEALTH", "PACKAGES", "THROWAWAY", "files", "health_check"]

HEALTH: Final = {"interval": 10, "timeout": 5, "start_period": 30, "retries": 3}
"""How a container's health is asked for: seconds, but for the retries."""

PACKAGES: Final = {
    "daphne": ["daphne>=4.1,<5"],
    "gunicorn": ["gunicorn>=27,<28", "uvicorn[standard]>=0.40,<1", "uvicorn-worker>=0.3,<1"],
    "uvicorn": ["uvicorn[standard]>=0.40,<1"],
    "granian": ["granian[uvloop]>=2.5,<3"],  # without uvloop it keeps SIGTERM to itself
}
"""What each server's image needs besides requirements.txt."""

THROWAWAY: Final = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "DATABASE_URL": "sqlite://:memory:",
    "DJANGO_TRUSTED_PROXIES": "127.0.0.1",
}
"""Secrets that settings parse when they are read, made up; all others may be any text."""

_SET: Final = ("DJANGO_SETTINGS_MODULE", "DJANGO_DEBUG")  # by the image itself


def files(deployment: Deployment) -> Files:
    """Emit a Dockerfile, what it starts with and what it leaves out."""
    more = {
        "command": json.dumps(server.command(deployment)),
        "health": {**HEALTH, "command": json.dumps(health_check(deployment))},
        "packages": PACKAGES[deployment.server],
        "throwaway": {name: THROWAWAY.get(name, "$(random)") for name in deployment.variables if name not in _SET},
    }
    return {
        "Dockerfile": render("docker/Dockerfile", deployment, **more),
        "Dockerfile.dockerignore": render("docker/Dockerfile.dockerignore", deployment),
        "entrypoint.sh": render("docker/entrypoint.sh", deployment),
    }


def health_check(deployment: Deployment) -> list[str]:
    """Return the command that asks the node whether it lives; slim images have no curl for it."""
    # http.client heeds no proxy that the environment names; the host is one of ALLOWED_HOSTS.
    return [
        *("python", "-I", "-c"),
        f"from http.client import HTTPConnection as C; c = C('127.0.0.1', {deployment.port}, timeout=3); "
        f"c.request('GET', '/healthz', headers={{'Host': '{deployment.host}'}}); "
        "raise SystemExit(c.getresponse().status != 200)",
    ]
