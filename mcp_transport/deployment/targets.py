"""The targets of `mcp_deploy`: what each one emits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mcp_transport.deployment import compose, docker, grafana, haproxy, kubernetes, nginx, prometheus, systemd
from mcp_transport.deployment.options import Deployment, Emitter, Files

__all__ = ["TARGETS", "emit"]

TARGETS: Final[Mapping[str, Emitter]] = MappingProxyType(
    {
        "docker": docker.files,
        "compose": compose.files,
        "kubernetes": kubernetes.files,
        "nginx": nginx.files,
        "haproxy": haproxy.files,
        "prometheus": prometheus.files,
        "grafana": grafana.files,
        "systemd": systemd.files,
    }
)


def emit(target: str, deployment: Deployment) -> Files:
    """Return a target's files, by their path in the target's folder. Raises: KeyError."""
    return TARGETS[target](deployment)
