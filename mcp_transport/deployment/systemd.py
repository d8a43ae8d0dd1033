"""One machine, without containers: a unit that runs once for each port, and a target for all of them."""

from __future__ import annotations

from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render
from mcp_transport.deployment.server import command

__all__ = ["files"]


def files(deployment: Deployment) -> Files:
    """Emit the units."""
    program, *words = command(deployment, address="127.0.0.1", port="%i")
    line = " ".join([f"{deployment.directory}/.venv/bin/{program}", *words])
    return {
        f"{deployment.name}@.service": render("systemd/node.service", deployment, command=line),
        f"{deployment.name}.target": render("systemd/all.target", deployment),
    }
