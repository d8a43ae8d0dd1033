"""Several containers on one machine."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import PurePosixPath
from typing import Final

from mcp_transport.deployment import docker, nginx
from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["files"]

_ASKED: Final = ("REDIS_PASSWORD", "TLS_CERTIFICATE", "TLS_CERTIFICATE_KEY")
"""What .env.example asks for whatever the project's secrets are."""


def files(deployment: Deployment) -> Files:
    """Emit the nodes with nginx in front of them and Redis behind. Raises: ValueError naming the option."""
    network = _network(deployment)
    addresses = [str(network[1 + number]) for number in range(1, deployment.nodes + 1)]
    # REDIS_URL is put together from the password, for Redis itself needs it, too.
    secret_names = [name for name in deployment.secret_names if name != "REDIS_URL"]
    more = {
        "nodes": {f"{deployment.name}-{number}": address for number, address in enumerate(addresses, 1)},
        "gateway": network[1],
        # From this file's folder to the project's.
        "context": "/".join([".."] * (len(PurePosixPath(deployment.folder).parts) + 1)),
        "upper": [*network.subnets()][1],
        "health": docker.HEALTH,
        "health_check": json.dumps(["CMD", *docker.health_check(deployment)]),
        "secret_names": secret_names,
        "own_names": [name for name in secret_names if name not in _ASKED],
    }
    upstreams = ",".join(f"{address}:{deployment.port}" for address in addresses)
    return {
        "compose.yaml": render("compose/compose.yaml", deployment, **more),
        ".env.example": render("compose/env.example", deployment, **more),
        **nginx.files(replace(deployment, upstreams=upstreams, listen="*")),
    }


def _network(deployment: Deployment) -> IPv4Network:
    """Return the nodes' network; its own address, the gateway's and the nodes' have room in its lower half."""
    try:
        network = IPv4Network(deployment.subnet)
    except ValueError as error:
        raise ValueError(f"--subnet: {error}") from error
    if network.num_addresses // 2 < deployment.nodes + 2:
        raise ValueError(f"--subnet: {network} is too small for {deployment.nodes} nodes (--nodes)")
    return network
