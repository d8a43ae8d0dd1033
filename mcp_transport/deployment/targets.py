"""The targets of `mcp_deploy`, and the function that generates the files of each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mcp_transport.deployment import aws, compose, docker, grafana, kubernetes, nginx, prometheus, systemd, traefik
from mcp_transport.deployment.options import Deployment, FileGenerator, Files
from mcp_transport.deployment.rendering import render

__all__ = ["TARGETS", "folder", "generate"]

TARGETS: Final[Mapping[str, FileGenerator]] = MappingProxyType(
    {
        "docker": docker.files,
        "compose": compose.files,
        "kubernetes": kubernetes.files,
        "nginx": nginx.files,
        "haproxy": lambda deployment: {"haproxy.cfg": render("haproxy/haproxy.cfg", deployment)},
        "caddy": lambda deployment: {"Caddyfile": render("caddy/Caddyfile", deployment)},
        "traefik": traefik.files,
        "prometheus": prometheus.files,
        "grafana": grafana.files,
        "systemd": systemd.files,
        "aws-ecs": aws.ecs_files,
        "aws-multiregion": aws.multiregion_files,
        "aws-lambda": aws.lambda_files,
    }
)


def generate(target: str, deployment: Deployment) -> Files:
    """Return the files of a target, by path in the target's folder. Raises: KeyError."""
    return TARGETS[target](deployment)


def folder(target: str) -> str:
    """Return the folder of a target's files: those of AWS share one."""
    return target.replace("aws-", "aws/", 1)
