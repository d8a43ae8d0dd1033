"""Target `prometheus`: scrape configuration, recording and alerting rules, and scaling by metrics."""

from __future__ import annotations

from textwrap import indent

from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["files"]


def files(deployment: Deployment) -> Files:
    """Return rules and scrape targets, for the Prometheus operator or for a stand-alone Prometheus."""
    is_operator = deployment.monitor == "service-monitor"
    node = f'{{job="{deployment.name}"' + (f', namespace="{deployment.namespace}"}}' if is_operator else "}")
    rules = render("prometheus/rules.yaml", deployment, node=node)
    if not is_operator:
        local = [f"127.0.0.1:{port}" for port in deployment.local_ports]
        targets = deployment.addresses if deployment.upstreams else local
        return {
            "prometheus.yml": render("prometheus/prometheus.yml", deployment),
            "nodes.yaml": render("prometheus/nodes.yaml", deployment, targets=targets),
            "rules.yaml": rules,
        }
    names = ("service-monitor.yaml", "prometheus-rule.yaml", "adapter-values.yaml", "scaled-object.yaml")
    parts = {
        "rules": indent(rules, "  "),
        "behavior": indent(render("kubernetes/behavior.yaml", deployment).rstrip(), 8 * " "),
    }
    return {name: render(f"prometheus/{name}", deployment, **parts) for name in names}
