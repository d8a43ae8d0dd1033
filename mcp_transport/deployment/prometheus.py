"""Target `prometheus`: scrape configuration, recording and alerting rules, and scaling by metrics."""

from __future__ import annotations

from textwrap import indent

from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["files", "scaled_object"]


def files(deployment: Deployment) -> Files:
    """Return rules and scrape targets, for the Prometheus operator or for a stand-alone Prometheus."""
    is_operator = deployment.monitor == "service-monitor"
    node = f'{{job="{deployment.name}"' + (f', namespace="{deployment.namespace}"}}' if is_operator else "}")
    rules = render("prometheus/rules.yaml", deployment, node=node)
    if not is_operator:
        return {
            "prometheus.yml": render("prometheus/prometheus.yml", deployment),
            "nodes.yaml": render("prometheus/nodes.yaml", deployment, targets=deployment.addresses),
            "rules.yaml": rules,
        }
    names = ("service-monitor.yaml", "prometheus-rule.yaml")
    generated = {name: render(f"prometheus/{name}", deployment, rules=indent(rules, "  ")) for name in names}
    if deployment.schedule.is_set:
        return generated  # the target `kubernetes` has the ScaledObject, which needs no adapter
    return generated | {
        "adapter-values.yaml": render("prometheus/adapter-values.yaml", deployment),
        "scaled-object.yaml": scaled_object(deployment),
    }


def scaled_object(deployment: Deployment) -> str:
    """Return the ScaledObject, KEDA's alternative to the autoscaler of the target `kubernetes`."""
    behavior = indent(render("kubernetes/behavior.yaml", deployment).rstrip(), 8 * " ")
    return render("prometheus/scaled-object.yaml", deployment, behavior=behavior)
