"""Target `kubernetes`: the objects of one namespace."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent
from typing import Final

from mcp_transport.deployment.aws import balancer_idle
from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.prometheus import scaled_object
from mcp_transport.deployment.rendering import render

__all__ = ["files"]

_RESOURCES: Final = (
    "namespace.yaml",
    "config.yaml",
    "deployment.yaml",
    "service.yaml",
    "ingress.yaml",
    "autoscaler.yaml",
    "disruption-budget.yaml",
    "network-policy.yaml",
)
_OVERLAYS: Final = ("production", "staging")


def files(deployment: Deployment) -> Files:
    """Return the objects, or a Kustomize base with overlays, and a README on applying them."""
    parts = {
        "behavior": indent(render("kubernetes/behavior.yaml", deployment).rstrip(), "    "),
        "keepalive": f"{deployment.policy.keepalive:g}",
        "balancer_idle": balancer_idle(deployment),
    }
    generated = {name: render(f"kubernetes/{name}", deployment, **parts) for name in _RESOURCES}
    if deployment.schedule.is_set:  # one of the two: both would scale the same Deployment
        del generated["autoscaler.yaml"]
        generated["scaled-object.yaml"] = scaled_object(deployment)
    namespaces = [deployment.namespace]
    if deployment.kustomize:
        overlays = _kustomizations(deployment, list(generated))
        generated = {f"base/{name}": text for name, text in generated.items()} | overlays
        namespaces.append(f"{deployment.namespace}-staging")
    return generated | {"README.md": render("kubernetes/README.md", deployment, namespaces=namespaces)}


def _kustomizations(deployment: Deployment, resources: Sequence[str]) -> Files:
    image, tag = _name_and_tag(deployment.image)
    base = render("kubernetes/base.kustomization.yaml", deployment, resources=resources)
    overlays = {
        f"overlays/{overlay}/kustomization.yaml": render(
            f"kubernetes/{overlay}.kustomization.yaml", deployment, image=image, tag=tag
        )
        for overlay in _OVERLAYS
    }
    regions = {
        f"overlays/{region}/kustomization.yaml": render(
            "kubernetes/region.kustomization.yaml", deployment, region=region
        )
        for region in deployment.several_regions
    }
    return {"base/kustomization.yaml": base, **overlays, **regions}


def _name_and_tag(image: str) -> tuple[str, str]:
    """Split an image reference; a colon before the last slash belongs to the registry's port."""
    name, _, tag = image.rpartition(":")
    return (name, tag) if name and "/" not in tag else (image, "latest")
