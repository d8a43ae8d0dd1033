"""Rules that Kubernetes schemas cannot check: names, numbers and selectors that must agree between objects.

Each rule is an assertion over all generated objects; `check` raises the first that does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = ["RULES", "Document", "Objects", "check"]

Document = dict[str, Any]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS |= {f"{prefix}i": 1024.0**power for power, prefix in enumerate("KMGT", 1)}
_PROBES = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def check(documents: list[Document], *, secret_keys: list[str], drain: float) -> None:
    """Check all rules; `secret_keys` are the documented keys of the secret, `drain` is DRAIN_SECONDS."""
    objects = Objects(documents, secret_keys, drain)
    for rule in RULES:
        rule(objects)


def _quantity(text: Any) -> float:
    """Parse a quantity such as 500m or 512Mi."""
    match = _QUANTITY.fullmatch(str(text))
    assert match, f"{text!r} is no quantity"
    return float(match[1]) * _UNITS[match[2] or ""]


class Objects:
    """Documents by kind, with common queries."""

    def __init__(self, documents: list[Document], secret_keys: list[str], drain: float) -> None:
        self.all, self.secret_keys, self.drain = documents, secret_keys, drain
        self.pods = [deployment["spec"]["template"] for deployment in self.of("Deployment")]
        self.containers = [container for pod in self.pods for container in pod["spec"]["containers"]]
        self.jobs = [job["spec"]["template"] for job in self.of("Job")]

    def of(self, kind: str) -> list[Document]:
        """Return the documents of a kind."""
        return [document for document in self.all if document["kind"] == kind]

    def has(self, kind: str, name: str) -> bool:
        """Tell whether an object exists."""
        return any(document["metadata"]["name"] == name for document in self.of(kind))

    def assert_selected(self, where: str, selector: dict[str, str]) -> None:
        """Check that a selector selects the pods, and is not empty."""
        finds = [selector.items() <= pod["metadata"]["labels"].items() for pod in self.pods]
        assert selector and all(finds), f"{where}: {selector} does not find the pods"


def names(objects: Objects) -> None:
    """Names are DNS labels, and all objects are in one existing namespace."""
    [namespace] = {document["metadata"]["name"] for document in objects.of("Namespace")}
    for document in objects.all:
        kind, metadata = document["kind"], document["metadata"]
        assert _LABEL.fullmatch(metadata["name"]), f"{kind}: {metadata['name']!r} is no DNS label"
        assert kind == "Namespace" or metadata.get("namespace") == namespace, f"{kind}: another namespace"


def selectors(objects: Objects) -> None:
    """All selectors select the pods of the Deployment."""
    for deployment in objects.of("Deployment"):
        spec = deployment["spec"]
        objects.assert_selected("Deployment", spec["selector"]["matchLabels"])
        for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
            objects.assert_selected("topologySpreadConstraints", spread["labelSelector"]["matchLabels"])
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for document in objects.of(kind):
            objects.assert_selected(kind, document["spec"][key].get("matchLabels", {}))
    for service in objects.of("Service"):
        objects.assert_selected("Service", service["spec"].get("selector", {}))


def ports(objects: Objects) -> None:
    """Every referenced port exists in a container."""
    defined = {
        port[key] for item in objects.containers for port in item["ports"] for key in ("name", "containerPort")
    }
    used = [port["targetPort"] for service in objects.of("Service") for port in service["spec"]["ports"]]
    for policy in objects.of("NetworkPolicy"):
        used += [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    used += [item[probe]["httpGet"]["port"] for item in objects.containers for probe in _PROBES]
    assert set(used) <= defined, f"no container has one of the ports {used}"


def paths(objects: Objects) -> None:
    """Every Ingress path leads to a port of a Service."""
    served = {
        (service["metadata"]["name"], port["name"])
        for service in objects.of("Service")
        for port in service["spec"]["ports"]
    }
    for rule in (rule for ingress in objects.of("Ingress") for rule in ingress["spec"]["rules"]):
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            assert (service["name"], service["port"]["name"]) in served, f"{path['path']} leads to nowhere"
    numbered = {
        (service["metadata"]["name"], port["port"])
        for service in objects.of("Service")
        for port in service["spec"]["ports"]
    }
    for rule in (rule for route in objects.of("HTTPRoute") for rule in route["spec"]["rules"]):
        assert all((backend["name"], backend["port"]) in numbered for backend in rule["backendRefs"]), "to nowhere"


def hosts(objects: Objects) -> None:
    """Django allows each host that the Ingress serves, and the certificate is for them."""
    configs = objects.of("ConfigMap")
    allowed = {host for config in configs for host in config["data"].get("DJANGO_ALLOWED_HOSTS", "").split(",")}
    for ingress in objects.of("Ingress"):
        served = {rule["host"] for rule in ingress["spec"]["rules"]}
        assert served <= allowed, f"Django does not allow {sorted(served - allowed)}"
        for tls in ingress["spec"].get("tls", []):
            assert set(tls["hosts"]) == served, f"the certificate is for {tls['hosts']}"


def scaling(objects: Objects) -> None:
    """The autoscaler's target exists, and the disruption budget allows evicting one pod."""
    minimums = []
    for scaler in objects.of("HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        target = spec["scaleTargetRef"]
        minimums.append(spec["minReplicas"])
        assert target["apiVersion"] == "apps/v1" and objects.has(target["kind"], target["name"]), "no such target"
        assert spec["minReplicas"] <= spec["maxReplicas"], "at least more than at most"
        resources = {metric["resource"]["name"] for metric in spec["metrics"] if metric["type"] == "Resource"}
        for container in objects.containers:
            assert resources <= set(container["resources"]["requests"]), "a share of what is not requested"
    for scaler in objects.of("ScaledObject"):
        spec = scaler["spec"]
        minimums.append(spec["minReplicaCount"])
        assert objects.has("Deployment", spec["scaleTargetRef"]["name"]), "no such target"
        assert spec["minReplicaCount"] <= spec["maxReplicaCount"], "at least more than at most"
    assert len(minimums) <= 1, "two autoscalers of one Deployment"
    for budget in objects.of("PodDisruptionBudget"):
        assert budget["spec"]["minAvailable"] < min(minimums), "no pod may go"
    for deployment in objects.of("Deployment"):
        assert not minimums or "replicas" not in deployment["spec"], "replicas would overrule the autoscaler"


def quantities(objects: Objects) -> None:
    """Resource quantities are valid, and no limit is below its request."""
    for container in objects.containers:
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        for name, text in requests.items():
            assert _quantity(limits.get(name, text)) >= _quantity(text), f"the limit of {name} is below its request"
        for text in limits.values():
            _quantity(text)
    for volume in (volume for pod in objects.pods for volume in pod["spec"].get("volumes", [])):
        _quantity(volume["emptyDir"]["sizeLimit"])


def ending(objects: Objects) -> None:
    """A pod has enough time for preStop and draining."""
    for pod in objects.pods:
        for container in pod["spec"]["containers"]:
            command = container["lifecycle"]["preStop"]["exec"]["command"]
            wait, timeout = (float(command[command.index(option) + 1]) for option in ("--wait", "--timeout"))
            assert wait <= timeout, "preStop waits for longer than its timeout"
            termination_seconds = pod["spec"]["terminationGracePeriodSeconds"]
            assert termination_seconds > timeout + objects.drain, "killed before preStop and draining are over"


def environment(objects: Objects) -> None:
    """All references in a container's environment exist."""
    keys = {config["metadata"]["name"]: config["data"] for config in objects.of("ConfigMap")}
    for container in [*objects.containers, *(pod["spec"]["containers"][0] for pod in objects.jobs)]:
        for source in container.get("envFrom", []):
            assert source["configMapRef"]["name"] in keys, "no such ConfigMap"
        defined: set[str] = set()
        for variable in container["env"]:
            reference = variable.get("valueFrom", {}).get("configMapKeyRef")
            assert not reference or reference["key"] in keys.get(reference["name"], {}), f"no {reference} anywhere"
            others = set(re.findall(r"\$\((\w+)\)", variable.get("value", "")))
            assert others <= defined, f"{variable['name']}: {sorted(others)} are not known before it"
            defined.add(variable["name"])
    for pod in [*objects.pods, *objects.jobs]:
        assert objects.has("ServiceAccount", pod["spec"]["serviceAccountName"]), "no such ServiceAccount"


def secrets(objects: Objects) -> None:
    """Containers use the documented keys of the secret, and no file contains a value."""
    keys = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for container in objects.containers
        for variable in container["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    assert keys == set(objects.secret_keys), f"{sorted(keys)} are taken from a secret with {objects.secret_keys}"
    written = keys & {key for config in objects.of("ConfigMap") for key in config["data"]}
    assert not written, f"{sorted(written)} are secrets"
    assert not objects.of("Secret"), "no secret may be written"


def names_of_pods(objects: Objects) -> None:
    """No Service sends requests to the pods of a Job."""
    for service in objects.of("Service"):
        for pod in objects.jobs:
            assert not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items(), "a Job as a node"


def hardening(objects: Objects) -> None:
    """Pods conform to the `restricted` level, and only volumes are writable."""
    for pod in [*objects.pods, *objects.jobs]:
        context = pod["spec"]["securityContext"]
        assert context.get("runAsNonRoot") and context.get("runAsUser", 0) >= 10000, "a user that machines may have"
        assert context.get("seccompProfile") == {"type": "RuntimeDefault"}
        assert pod["spec"].get("automountServiceAccountToken") is False, "a token that pods do not need"
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        for container in pod["spec"]["containers"]:
            inner, mounts = container["securityContext"], container.get("volumeMounts", [])
            assert inner.get("readOnlyRootFilesystem") is True
            assert inner.get("allowPrivilegeEscalation") is False
            assert inner.get("capabilities") == {"drop": ["ALL"]}
            assert {mount["name"] for mount in mounts} == volumes
            assert {mount["mountPath"] for mount in mounts} == {"/tmp"}  # noqa: S108


def probes(objects: Objects) -> None:
    """Only readiness may depend on the store: restarting all nodes while it is down does not help."""
    for container in objects.containers:
        assert {probe: container[probe]["httpGet"]["path"] for probe in _PROBES} == _PROBES


def streams(objects: Objects) -> None:
    """An Ingress does not buffer events, has timeouts longer than idle streams, and does not retry calls."""
    for ingress in objects.of("Ingress"):
        if not ingress["spec"]["ingressClassName"].startswith("nginx"):
            continue
        prefix = "nginx.ingress.kubernetes.io/"
        annotations = {name.removeprefix(prefix): value for name, value in ingress["metadata"]["annotations"].items()}
        assert annotations.get("proxy-buffering") == "off"
        assert float(annotations.get("proxy-read-timeout", 60)) >= 120
        assert "non_idempotent" not in annotations.get("proxy-next-upstream", "")


RULES: list[Callable[[Objects], None]] = [
    *(names, selectors, ports, paths, hosts, scaling, quantities),
    *(ending, environment, secrets, names_of_pods, hardening, probes, streams),
]
