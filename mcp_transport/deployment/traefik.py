"""Target `traefik`: the static and the dynamic configuration of a Traefik without containers."""

from __future__ import annotations

from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["files"]


def files(deployment: Deployment) -> Files:
    """Return both files."""
    context = {
        "entry_point": "websecure" if deployment.tls else "web",
        "listen": "" if deployment.listen == "*" else deployment.listen,
    }
    return {name: render(f"traefik/{name}", deployment, **context) for name in ("traefik.yaml", "dynamic.yaml")}
