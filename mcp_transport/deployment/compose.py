"""Target `compose`: several containers on one machine."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import PurePosixPath
from typing import Final

from mcp_transport.deployment import docker, nginx, prometheus
from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["files"]

_COMPOSE_SECRETS: Final = ("REDIS_PASSWORD", "TLS_CERTIFICATE", "TLS_CERTIFICATE_KEY")
"""Secrets of .env.example besides those of the project."""


def files(deployment: Deployment) -> Files:
    """Return files for the nodes, nginx in front of them and Redis. Raises: ValueError naming the option."""
    network = _network(deployment)
    addresses = [str(network[1 + number]) for number in range(1, deployment.min_replicas + 1)]
    # compose.yaml builds REDIS_URL from the password, which Redis itself needs too.
    secret_names = [name for name in deployment.secret_names if name != "REDIS_URL"]
    context = {
        "nodes": {f"{deployment.name}-{number}": address for number, address in enumerate(addresses, 1)},
        "gateway": network[1],
        # The path from this file's folder to the project's.
        "context": "/".join([".."] * (len(PurePosixPath(deployment.folder).parts) + 1)),
        "upper": [*network.subnets()][1],
        "health": docker.HEALTH,
        "health_check": json.dumps(["CMD", *docker.health_check(deployment)]),
        "secret_names": secret_names,
        "environment": {name: value for name, value in deployment.environment.items() if name != "REDIS_URL"},
        "own_names": [name for name in secret_names if name not in _COMPOSE_SECRETS],
    }
    upstreams = ",".join(f"{address}:{deployment.port}" for address in addresses)
    here = replace(deployment, upstreams=upstreams, listen="0.0.0.0", nginx_layout="complete", monitor="scrape")  # noqa: S104
    return {
        "compose.yaml": render("compose/compose.yaml", deployment, **context),
        ".env.example": render("compose/env.example", deployment, **context),
        **nginx.files(here),
        **{f"prometheus/{name}": text for name, text in prometheus.files(here).items()},
    }


def _network(deployment: Deployment) -> IPv4Network:
    """Return the nodes' network, whose lower half must fit its own address, the gateway's and the nodes'."""
    try:
        network = IPv4Network(deployment.subnet)
    except ValueError as error:
        raise ValueError(f"--subnet: {error}") from error
    if network.num_addresses // 2 < deployment.min_replicas + 2:
        raise ValueError(f"--subnet: {network} is too small for {deployment.min_replicas} nodes (--min-replicas)")
    return network
