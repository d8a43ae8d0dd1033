"""The options of the target `kubernetes`, and what its objects derive from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mcp_transport.deployment import forms
from mcp_transport.deployment.forms import option

__all__ = ["DNS_SERVERS", "KubernetesOptions"]

_OWN_OPERATIONS: Final = "initialize,ping,tools/list,server/discover"
"""Operations without code of the project: they are slow only if the nodes are busy."""

DNS_SERVERS: Final = {
    "kube-dns": [{"namespace": "kube-system", "port": 53}],
    "node-local": [{"network": "169.254.20.10/32", "port": 53}, {"namespace": "kube-system", "port": 53}],
    "openshift": [{"namespace": "openshift-dns", "port": 5353}],
}
"""Where pods resolve names, by `--dns`: NodeLocal DNSCache listens on the link-local address of each machine."""

_SERVICES: Final = ("ClusterIP", "LoadBalancer", "NodePort")
_ROUTES: Final = ("ingress", "gateway", "both", "none")
_MAX_MILLISECONDS: Final = 3_600_000
_MAX_PERCENT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions:
    """The part of a deployment that only Kubernetes needs; the autoscaler's targets are also those of ECS."""

    namespace: str = option("mcp", "Kubernetes namespace", form=forms.LABEL)
    image_pull_secret: str = option("", "Secret with which pods pull the image", form=forms.OBJECT)
    cpu_request: str = option("500m", "processors that a pod requests", form=forms.CPU)
    cpu_limit: str = option("1", "processors that a pod may use", form=forms.CPU)
    memory_request: str = option("512Mi", "memory that a pod requests", form=forms.MEMORY)
    memory_limit: str = option("512Mi", "memory that a pod may use", form=forms.MEMORY)
    cpu_percent: int = option(50, "CPU utilisation above which nodes are added, in percent", maximum=_MAX_PERCENT)
    memory_percent: int = option(70, "memory utilisation above which they are added", maximum=_MAX_PERCENT)
    p95_milliseconds: int = option(100, "p95 latency above which they are added", maximum=_MAX_MILLISECONDS)
    p95_operations: str = option(
        _OWN_OPERATIONS, "comma-separated operations whose latency counts; none: no latency", form=forms.OPERATIONS
    )
    service_type: str = option("ClusterIP", "type of the Service", choices=_SERVICES)
    routes: str = option("ingress", "what leads requests to the Service", choices=_ROUTES)
    ingress_class: str = option("nginx", "Kubernetes ingress class", form=forms.LABEL)
    ingress_annotation: tuple[str, ...] = option(
        (), "NAME=VALUE, an annotation of the Ingress (repeatable)", form=forms.ANNOTATION
    )
    ingress_namespace: str = option("", "namespace of the ingress controller or gateway", form=forms.NAMESPACE)
    ingress_network: str = option("", "network of a load balancer outside the cluster", form=forms.OTHER_NETWORK)
    trusted_proxies: str = option("", "networks of proxies that name the client's address", form=forms.PROXIES)
    gateway: str = option("gateway", "Gateway of the HTTPRoute", form=forms.HOST)
    gateway_namespace: str = option("", "namespace of the Gateway, if it is another one", form=forms.NAMESPACE)
    gateway_listener: str = option("https", "listener of the Gateway; none: all", form=forms.OBJECT)
    public_paths: str = option("", "comma-separated further public paths, such as /admin,/static", form=forms.PATHS)
    cluster_issuer: str = option("", "ClusterIssuer of cert-manager that issues the certificate", form=forms.OBJECT)
    egress_ports: str = option("6379,5432,443", "ports that pods may connect to", form=forms.PORTS)
    dns: str = option("kube-dns", "where pods resolve names", choices=tuple(DNS_SERVERS))
    monitoring_namespace: str = option("monitoring", "namespace of Prometheus", form=forms.LABEL)
    kustomize: bool = option(False, "generate a Kustomize base with overlays and components")

    @property
    def has_ingress(self) -> bool:
        """Return whether an Ingress leads to the Service."""
        return self.routes in ("ingress", "both")

    @property
    def has_gateway(self) -> bool:
        """Return whether an HTTPRoute leads to the Service."""
        return self.routes in ("gateway", "both")

    @property
    def other_paths(self) -> list[str]:
        """Return the public paths besides the endpoint's."""
        return [path for path in self.public_paths.split(",") if path]

    @property
    def allowed_ports(self) -> list[int]:
        """Return the ports that pods may connect to."""
        return [int(port) for port in dict.fromkeys(self.egress_ports.split(","))]

    @property
    def dns_servers(self) -> list[dict[str, object]]:
        """Return where pods resolve names: a namespace or a network, and a port."""
        return DNS_SERVERS[self.dns]

    @property
    def timed_operations(self) -> list[str]:
        """Return the operations whose latency adds nodes."""
        return [name for name in self.p95_operations.split(",") if name]

    @property
    def p95_pattern(self) -> str:
        """Return the regular expression of those operations, as Prometheus quotes it."""
        return "|".join(name.replace(".", r"\\.") for name in self.timed_operations)
