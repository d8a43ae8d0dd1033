"""Ingress controllers: the annotations that each needs, and where its requests come from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from mcp_transport.deployment.options import Deployment
from mcp_transport.deployment.rendering import render

__all__ = ["CONTROLLERS", "Controller", "controller", "ingress_annotations", "service_annotations", "sources"]


class Controller(NamedTuple):
    """What differs between ingress controllers; the texts are in templates/kubernetes/annotations."""

    namespace: str = ""
    """Where its pods usually are; empty if it is outside the cluster."""
    on_service: bool = False
    """Does it read annotations of the Service?"""
    uses_secret: bool = True
    """Does it read the certificate from a Secret?"""
    objects: tuple[str, ...] = ()
    """Further objects that its annotations refer to."""


CONTROLLERS: Final = {
    "nginx": Controller("ingress-nginx"),
    "haproxy": Controller("haproxy-controller"),
    "traefik": Controller("traefik", on_service=True, objects=("servers-transport.yaml",)),
    "alb": Controller(uses_secret=False),
}
"""By ingress class; a class such as `nginx-internal` belongs to the controller of its first word."""

_ANYWHERE: Final = "0.0.0.0/0"


def controller(deployment: Deployment) -> Controller | None:
    """Return the controller of the ingress class; None for another one."""
    return CONTROLLERS.get(_kind(deployment))


def ingress_annotations(deployment: Deployment, **context: Any) -> str:
    """Return the lines of the Ingress's annotations: those of its controller, then those of the options."""
    lines = ""
    if controller(deployment) is not None:
        lines = render(f"kubernetes/annotations/{_kind(deployment)}.yaml", deployment, **context)
    return _replaced(lines, (pair.split("=", 1) for pair in deployment.ingress_annotation))


def service_annotations(deployment: Deployment) -> str:
    """Return the lines of the Service's annotations for the controller of its Ingress."""
    selected = controller(deployment)
    if selected is None or not selected.on_service or not deployment.has_ingress:
        return ""
    return render(f"kubernetes/annotations/{_kind(deployment)}.service.yaml", deployment)


def sources(deployment: Deployment) -> list[dict[str, str]]:
    """Return the namespaces and networks from which requests come to the pods."""
    d, selected = deployment, controller(deployment)
    namespaces, is_outside = [], d.service_type != "ClusterIP"
    if d.has_ingress and selected is not None and not selected.namespace:
        is_outside = True
    elif d.has_ingress:
        namespaces.append(d.ingress_namespace or (selected.namespace if selected is not None else _kind(d)))
    if d.has_gateway:
        namespaces.append(d.ingress_namespace or d.gateway_namespace or d.namespace)
    networks = [d.ingress_network or _ANYWHERE] if d.ingress_network or is_outside else []
    return [
        *({"namespace": name} for name in dict.fromkeys(namespaces)),
        *({"network": network} for network in networks),
    ]


def _kind(deployment: Deployment) -> str:
    return deployment.ingress_class.partition("-")[0]


def _replaced(lines: str, pairs: Iterable[list[str]]) -> str:
    """Set annotations: each replaces the line of its name, or is added."""
    for name, value in pairs:
        line = f"{name}: {json.dumps(value)}"
        lines, count = re.subn(rf"(?m)^{re.escape(name)}: .*$", line.replace("\\", r"\\"), lines)
        lines += "" if count else f"{line}\n"
    return lines
