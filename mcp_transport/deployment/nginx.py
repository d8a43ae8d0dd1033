"""Target `nginx`: nginx in front of the nodes."""

from __future__ import annotations

from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["files"]


def files(deployment: Deployment) -> Files:
    """Return the configuration of nginx."""
    return {"nginx.conf": render("nginx/nginx.conf", deployment)}
