"""What the schemas of Kubernetes do not see: names, numbers and selectors of several objects that have to agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["RULES", "Document", "Objects", "problems", "quantity"]

Document = dict[str, Any]
Problems = Iterator[str]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS |= {f"{prefix}i": 1024.0**power for power, prefix in enumerate("KMGT", 1)}
_CLUSTER_WIDE = {"Namespace"}
_PROBES = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def problems(documents: list[Document], *, secret_keys: list[str], drain: float) -> list[str]:
    """Return what is wrong: `secret_keys` are those that operators are told to create, `drain` is DRAIN_SECONDS."""
    objects = Objects(documents, secret_keys, drain)
    return [problem for rule in RULES for problem in rule(objects)]


def quantity(text: Any) -> float:
    """Read a quantity such as 500m or 512Mi. Raises: ValueError."""
    if not (found := _QUANTITY.fullmatch(str(text))):
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1]) * _UNITS[found[2] or ""]


class Objects:
    """Documents by kind, and what is asked of them often."""

    def __init__(self, documents: list[Document], secret_keys: list[str], drain: float) -> None:
        self.all, self.secret_keys, self.drain = documents, secret_keys, drain

    def of(self, kind: str) -> list[Document]:
        """Return the documents of a kind."""
        return [document for document in self.all if document["kind"] == kind]

    def has(self, kind: str, name: str) -> bool:
        """Tell whether there is such an object."""
        return any(document["metadata"]["name"] == name for document in self.of(kind))

    @property
    def pods(self) -> list[Document]:
        """Return the templates of pods."""
        return [deployment["spec"]["template"] for deployment in self.of("Deployment")]

    @property
    def containers(self) -> list[Document]:
        """Return the containers of all pods."""
        return [container for pod in self.pods for container in pod["spec"]["containers"]]

    @property
    def ports(self) -> set[Any]:
        """Return names and numbers of the ports of all containers."""
        ports = [port for container in self.containers for port in container["ports"]]
        return {port["name"] for port in ports} | {port["containerPort"] for port in ports}

    def selects(self, selector: dict[str, str]) -> bool:
        """Tell whether a selector finds the pods, and not just everything."""
        return bool(selector) and all(selector.items() <= pod["metadata"]["labels"].items() for pod in self.pods)


def names(objects: Objects) -> Problems:
    """Names are DNS labels, and all objects are in one namespace, which is there."""
    namespaces = {document["metadata"]["name"] for document in objects.of("Namespace")}
    for document in objects.all:
        kind, metadata = document["kind"], document["metadata"]
        if not _LABEL.fullmatch(metadata["name"]):
            yield f"{kind}: {metadata['name']!r} is no DNS label"
        if kind not in _CLUSTER_WIDE and {metadata.get("namespace")} != namespaces:
            yield f"{kind}: the namespace {metadata.get('namespace')!r} is not among {sorted(namespaces)}"


def selectors(objects: Objects) -> Problems:
    """Whatever selects pods finds those of the Deployment."""
    for deployment in objects.of("Deployment"):
        spec = deployment["spec"]
        if not objects.selects(spec["selector"]["matchLabels"]):
            yield "Deployment: the selector does not find its own pods"
        for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
            if not objects.selects(spread["labelSelector"]["matchLabels"]):
                yield f"Deployment: what spreads over {spread['topologyKey']} does not find its pods"
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for document in objects.of(kind):
            if not objects.selects(document["spec"][key].get("matchLabels", {})):
                yield f"{kind}: finds no pods"
    for service in objects.of("Service"):
        if not objects.selects(service["spec"].get("selector", {})):
            yield "Service: finds no pods"


def ports(objects: Objects) -> Problems:
    """A port that is named somewhere is a container's."""
    services, policies = objects.of("Service"), objects.of("NetworkPolicy")
    asked = [("Service", port["targetPort"]) for service in services for port in service["spec"]["ports"]]
    for policy in policies:
        asked += [("NetworkPolicy", port["port"]) for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    for container in objects.containers:
        asked += [(probe, container[probe]["httpGet"]["port"]) for probe in _PROBES]
    for where, port in asked:
        if port not in objects.ports:
            yield f"{where}: no container has the port {port!r}"


def paths(objects: Objects) -> Problems:
    """An Ingress leads to ports of Services."""
    served = {
        (service["metadata"]["name"], port["name"])
        for service in objects.of("Service")
        for port in service["spec"]["ports"]
    }
    for rule in (rule for ingress in objects.of("Ingress") for rule in ingress["spec"]["rules"]):
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            if (service["name"], service["port"]["name"]) not in served:
                yield f"Ingress: {path['path']} leads to {service}, which is not there"


def hosts(objects: Objects) -> Problems:
    """Django allows each host that the Ingress serves, and the certificate is for them."""
    allowed = {
        host
        for config in objects.of("ConfigMap")
        for host in config["data"].get("DJANGO_ALLOWED_HOSTS", "").split(",")
    }
    for ingress in objects.of("Ingress"):
        served = {rule["host"] for rule in ingress["spec"]["rules"]}
        if not served <= allowed:
            yield f"Ingress: Django does not allow {sorted(served - allowed)}"
        for tls in ingress["spec"].get("tls", []):
            if set(tls["hosts"]) != served:
                yield f"Ingress: the certificate is for {tls['hosts']}, and not for {sorted(served)}"


def scaling(objects: Objects) -> Problems:
    """An autoscaler has a target of the right kind, and a budget lets a pod go."""
    least = [scaler["spec"]["minReplicas"] for scaler in objects.of("HorizontalPodAutoscaler")]
    for scaler in objects.of("HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        target = spec["scaleTargetRef"]
        if target["apiVersion"] != "apps/v1" or not objects.has(target["kind"], target["name"]):
            yield f"HorizontalPodAutoscaler: {target} is not there"
        if spec["minReplicas"] > spec["maxReplicas"]:
            yield "HorizontalPodAutoscaler: at least more than at most"
        resources = {metric["resource"]["name"] for metric in spec["metrics"] if metric["type"] == "Resource"}
        for container in objects.containers:
            if missing := resources - set(container["resources"]["requests"]):
                yield f"HorizontalPodAutoscaler: a share of {sorted(missing)}, but {container['name']} requests none"
    for budget in objects.of("PodDisruptionBudget"):
        if budget["spec"]["minAvailable"] >= min(least):
            yield f"PodDisruptionBudget: of {min(least)} pods no one may go"
    if least and any("replicas" in deployment["spec"] for deployment in objects.of("Deployment")):
        yield "Deployment: replicas would overrule the autoscaler"


def quantities(objects: Objects) -> Problems:
    """Resources can be read, and nothing may have less than it requests."""
    for container in objects.containers:
        sizes: dict[tuple[str, str], float] = {}
        for part in ("requests", "limits"):
            for name, text in container["resources"][part].items():
                try:
                    sizes[part, name] = quantity(text)
                except ValueError as error:
                    yield f"{container['name']}: {part}.{name}: {error}"
        for (part, name), size in sizes.items():
            if part == "requests" and sizes.get(("limits", name), size) < size:
                yield f"{container['name']}: the limit of {name} is below its request"
    for volume in (volume for pod in objects.pods for volume in pod["spec"].get("volumes", [])):
        try:
            quantity(volume["emptyDir"]["sizeLimit"])
        except ValueError as error:
            yield f"{volume['name']}: {error}"


def ending(objects: Objects) -> Problems:
    """A pod is given the time that its preStop and draining take."""
    for pod in objects.pods:
        for container in pod["spec"]["containers"]:
            words = container["lifecycle"]["preStop"]["exec"]["command"]
            wait, timeout = (float(words[words.index(word) + 1]) for word in ("--wait", "--timeout"))
            if wait > timeout:
                yield "preStop: it waits for longer than its timeout"
            if pod["spec"]["terminationGracePeriodSeconds"] <= timeout + objects.drain:
                yield f"Deployment: killed before preStop ({timeout:g} s) and draining ({objects.drain:g} s) are over"


def environment(objects: Objects) -> Problems:
    """Whatever a container's environment refers to exists."""
    keys = {config["metadata"]["name"]: config["data"] for config in objects.of("ConfigMap")}
    for container in objects.containers:
        for source in container.get("envFrom", []):
            if source["configMapRef"]["name"] not in keys:
                yield f"{container['name']}: there is no ConfigMap {source['configMapRef']['name']}"
        known: set[str] = set()
        for variable in container["env"]:
            name, reference = variable["name"], variable.get("valueFrom", {}).get("configMapKeyRef")
            if reference and reference["key"] not in keys.get(reference["name"], {}):
                yield f"{name}: the ConfigMap has no {reference['key']}"
            for other in set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) - known:
                yield f"{name}: {other} is not known before it"
            known.add(name)
    for pod in objects.pods:
        if not objects.has("ServiceAccount", pod["spec"]["serviceAccountName"]):
            yield f"Deployment: there is no ServiceAccount {pod['spec']['serviceAccountName']}"


def secrets(objects: Objects) -> Problems:
    """Containers take what operators are told to create, and no value is written."""
    taken = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for container in objects.containers
        for variable in container["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    if taken != set(objects.secret_keys):
        yield f"Deployment: takes {sorted(taken)} from the secret, which has {sorted(objects.secret_keys)}"
    if written := taken & {key for config in objects.of("ConfigMap") for key in config["data"]}:
        yield f"ConfigMap: {sorted(written)} are secrets"
    if objects.of("Secret"):
        yield "Secret: none may be written"


def hardening(objects: Objects) -> Problems:
    """Pods are what the namespace's `restricted` asks for, and what may be written to is a volume."""
    for pod in objects.pods:
        context = pod["spec"]["securityContext"]
        if not (context.get("runAsNonRoot") and context.get("runAsUser", 0) >= 10000):
            yield "Deployment: runs as root, or as a user that machines may have"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield "Deployment: no seccomp profile"
        if pod["spec"].get("automountServiceAccountToken") is not False:
            yield "Deployment: pods get a token that they do not need"
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        for container in pod["spec"]["containers"]:
            inner, mounts = container["securityContext"], container.get("volumeMounts", [])
            is_closed = inner.get("readOnlyRootFilesystem") is True and inner.get("allowPrivilegeEscalation") is False
            if not is_closed or inner.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{container['name']}: may do more than it has to"
            places = {mount["mountPath"] for mount in mounts}
            if {mount["name"] for mount in mounts} != volumes or places != {"/tmp"}:  # noqa: S108
                yield f"{container['name']}: nothing but /tmp has to be a volume"


def probes(objects: Objects) -> Problems:
    """Only readiness may depend on the store: to restart all nodes because it is away mends nothing."""
    for container in objects.containers:
        for probe, path in _PROBES.items():
            if container[probe]["httpGet"]["path"] != path:
                yield f"{probe}: asks {container[probe]['httpGet']['path']} and not {path}"


def streams(objects: Objects) -> Problems:
    """An Ingress hands events on as they come, and waits for longer than a stream is silent."""
    prefix = "nginx.ingress.kubernetes.io/"
    for ingress in objects.of("Ingress"):
        annotations = ingress["metadata"]["annotations"]
        if annotations.get(f"{prefix}proxy-buffering") != "off":
            yield "Ingress: buffers streams"
        if float(annotations.get(f"{prefix}proxy-read-timeout", 60)) < 120:
            yield "Ingress: ends streams that are silent for a while"
        if "non_idempotent" in annotations.get(f"{prefix}proxy-next-upstream", ""):
            yield "Ingress: runs tools twice"


RULES: list[Callable[[Objects], Problems]] = [
    names,
    selectors,
    ports,
    paths,
    hosts,
    scaling,
    quantities,
    ending,
    environment,
    secrets,
    hardening,
    probes,
    streams,
]
