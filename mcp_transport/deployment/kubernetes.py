"""Target `kubernetes`: the objects of one namespace."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent
from typing import Any, Final

from mcp_transport.deployment import ingress
from mcp_transport.deployment.aws import balancer_idle
from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.prometheus import scaled_object
from mcp_transport.deployment.rendering import render

__all__ = ["files"]

_RESOURCES: Final = (
    *("namespace.yaml", "config.yaml", "deployment.yaml", "service.yaml"),
    *("autoscaler.yaml", "disruption-budget.yaml", "network-policy.yaml"),
)
_OVERLAYS: Final = ("production", "staging")
_COMPONENTS: Final = {
    "ingress": ("ingress.yaml",),
    "gateway-api": ("http-route.yaml",),
    "cert-manager": ("certificate.yaml",),
    "migrate": ("job.yaml",),
}
"""The files of each component of Kustomize; a component patches nothing, so that any of them can be combined."""


def files(deployment: Deployment) -> Files:
    """Return the objects, or a Kustomize base with components and overlays, and a README on applying them."""
    context = _context(deployment)
    base = {name: render(f"kubernetes/{name}", deployment, **context) for name in _RESOURCES}
    if deployment.schedule.is_set:  # one of the two: both would scale the same Deployment
        del base["autoscaler.yaml"]
        base["scaled-object.yaml"] = scaled_object(deployment)
    components = {name: _component(deployment, name, context) for name in _COMPONENTS}
    chosen = _chosen(deployment)
    namespaces = [deployment.namespace]
    if deployment.kustomize:
        generated = _kustomized(deployment, base, components, chosen)
        namespaces.append(f"{deployment.namespace}-staging")
    else:
        generated = base | {name: text for part in chosen for name, text in components[part].items()}
        generated |= {f"migrate/{name}": text for name, text in components["migrate"].items()}
    return generated | {"README.md": render("kubernetes/README.md", deployment, namespaces=namespaces)}


def _chosen(deployment: Deployment) -> list[str]:
    """Return the components that the options ask for."""
    enabled = {
        "ingress": deployment.has_ingress,
        "gateway-api": deployment.has_gateway,
        "cert-manager": bool(deployment.cluster_issuer and deployment.tls),
    }
    return [name for name, is_enabled in enabled.items() if is_enabled]


def _context(deployment: Deployment) -> dict[str, Any]:
    numbers = {"keepalive": f"{deployment.policy.keepalive:g}", "balancer_idle": balancer_idle(deployment)}
    selected = ingress.controller(deployment)
    return {
        **numbers,
        "behavior": indent(render("kubernetes/behavior.yaml", deployment).rstrip(), "    "),
        "environment": indent(render("kubernetes/environment.yaml", deployment), " " * 10),
        "settings": {"LOG_LEVEL": "INFO", **deployment.environment},
        "sources": ingress.sources(deployment),
        "ingress_annotations": indent(ingress.ingress_annotations(deployment, **numbers), "    "),
        "service_annotations": indent(ingress.service_annotations(deployment), "    "),
        "uses_secret": selected is None or selected.uses_secret,
    }


def _component(deployment: Deployment, name: str, context: dict[str, Any]) -> Files:
    selected = ingress.controller(deployment)
    further = selected.objects if name == "ingress" and selected is not None else ()
    return {file: render(f"kubernetes/{file}", deployment, **context) for file in (*_COMPONENTS[name], *further)}


def _kustomized(deployment: Deployment, base: Files, components: dict[str, Files], chosen: Sequence[str]) -> Files:
    """Return a base, components, overlays that use those which were asked for, and the migration of each overlay."""
    image, tag = _name_and_tag(deployment.image)
    files = {f"base/{name}": text for name, text in base.items()}
    files["base/kustomization.yaml"] = render("kubernetes/base.kustomization.yaml", deployment, resources=[*base])
    for name, texts in components.items():
        place = f"components/{name}"
        files |= {f"{place}/{file}": text for file, text in texts.items()}
        files[f"{place}/kustomization.yaml"] = render(
            "kubernetes/component.kustomization.yaml", deployment, resources=[*texts], component=name
        )
    pinned: dict[str, Any] = {"image": image, "tag": tag, "components": chosen}
    pinned["service_annotations"] = ingress.service_annotations(deployment)
    for overlay in _OVERLAYS:
        place = f"overlays/{overlay}"
        files[f"{place}/kustomization.yaml"] = render(
            f"kubernetes/{overlay}.kustomization.yaml", deployment, **pinned
        )
        suffix = "" if overlay == "production" else f"-{overlay}"
        files[f"{place}/migrate/kustomization.yaml"] = render(
            "kubernetes/migrate.kustomization.yaml", deployment, **pinned, suffix=suffix
        )
    for region in deployment.several_regions:
        name = f"overlays/{region}/kustomization.yaml"
        files[name] = render("kubernetes/region.kustomization.yaml", deployment, region=region)
    return files


def _name_and_tag(image: str) -> tuple[str, str]:
    """Split an image reference; a colon before the last slash belongs to the registry's port."""
    name, _, tag = image.rpartition(":")
    return (name, tag) if name and "/" not in tag else (image, "latest")
