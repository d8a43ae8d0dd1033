"""Emitted Kubernetes objects: their schemas, what schemas do not see, and Kustomize's overlays."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mcp_transport.deployment import Deployment, emit
from mcp_transport.protocol.policy import Policy
from tests.deploy.semantics import RULES, Document, Objects, problems, quantity
from tests.support.processes import program

VERSIONS = ["1.30", "1.33", "1.37"]
PLAIN = Deployment(policy=Policy())
VARIANTS = {
    "plain": PLAIN,
    "one": replace(PLAIN, nodes=1, most_nodes=1),
    "session": replace(PLAIN, affinity="session", nodes=2, most_nodes=2, tls=False),
    "address": replace(PLAIN, affinity="address", name="shop", namespace="shops", host="shop.example.org"),
    "settings": Deployment(
        policy=Policy(drain=90.5, keepalive=120.0, max_request_bytes=100_000_000),
        secrets="DJANGO_SECRET_KEY,REDIS_URL,DATABASE_URL",
        image="registry.example.com:5000/shops/mcp:1.4.2",
        port=9000,
        path="/api/mcp",
    ),
}

every_variant = pytest.mark.parametrize("deployment", VARIANTS.values(), ids=VARIANTS)


def objects(deployment: Deployment) -> list[Document]:
    files = emit("kubernetes", deployment)
    return [
        document for name, text in files.items() if name.endswith(".yaml") for document in yaml.safe_load_all(text)
    ]


def documented_keys(deployment: Deployment) -> list[str]:
    """Return the keys of the secret that operators are told to create."""
    return re.findall(r"^- `(\w+)`$", emit("kubernetes", deployment)["README.md"], re.M)


def problems_of(documents: list[Document], deployment: Deployment = PLAIN) -> list[str]:
    return problems(documents, secret_keys=documented_keys(deployment), drain=deployment.policy.drain)


# -- schemas ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@every_variant
def test_every_object_is_what_its_schema_wants(deployment: Deployment, version: str) -> None:
    for document in objects(deployment):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas_see_a_misspelt_member(version: str) -> None:
    [document] = [document for document in objects(PLAIN) if document["kind"] == "HorizontalPodAutoscaler"]
    document["spec"]["behavior"]["scaleUp"]["policy"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, version, strict=True)


def test_all_kinds_are_there_and_none_twice() -> None:
    assert sorted(document["kind"] for document in objects(PLAIN)) == [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ]


# -- what schemas do not see -----------------------------------------------------------------------------


@every_variant
def test_objects_agree_with_each_other(deployment: Deployment) -> None:
    assert problems_of(objects(deployment), deployment) == []


Change = Callable[[dict[str, Document]], Any]


def _set(kind: str, path: str, value: Any) -> Change:
    """Return what changes a member of an object; numbers in the path are places in a list."""

    def change(by_kind: dict[str, Document]) -> None:
        *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        place: Any = by_kind[kind]
        for step in steps:
            place = place[step]
        place[last] = value

    return change


def _annotate(name: str, value: str) -> Change:
    def change(by_kind: dict[str, Document]) -> None:
        by_kind["Ingress"]["metadata"]["annotations"][f"nginx.ingress.kubernetes.io/{name}"] = value

    return change


CONTAINER = "spec/template/spec/containers/0"
WRONG: dict[str, tuple[Change, str]] = {
    "a bad name": (_set("Service", "metadata/name", "Bad_Name"), "no DNS label"),
    "another namespace": (_set("Service", "metadata/namespace", "other"), "namespace 'other'"),
    "pods have other labels": (
        _set("Deployment", "spec/template/metadata/labels", {"app.kubernetes.io/name": "other"}),
        "does not find its own pods",
    ),
    "an empty selector": (_set("Service", "spec/selector", {}), "Service: finds no pods"),
    "spreading other pods": (
        _set("Deployment", "spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels", {"a": "b"}),
        "does not find its pods",
    ),
    "a budget for other pods": (
        _set("PodDisruptionBudget", "spec/selector/matchLabels", {"a": "b"}),
        "PodDisruptionBudget: finds no pods",
    ),
    "a policy for other pods": (
        _set("NetworkPolicy", "spec/podSelector/matchLabels", {"a": "b"}),
        "NetworkPolicy: finds no pods",
    ),
    "a port that is not there": (
        _set("Service", "spec/ports/0/targetPort", "web"),
        "no container has the port 'web'",
    ),
    "a policy for another port": (
        _set("NetworkPolicy", "spec/ingress/0/ports/0/port", 80),
        "NetworkPolicy: no container",
    ),
    "a probe of another port": (
        _set("Deployment", f"{CONTAINER}/readinessProbe/httpGet/port", 80),
        "readinessProbe: no container",
    ),
    "an Ingress to nowhere": (
        _set("Ingress", "spec/rules/0/http/paths/0/backend/service/name", "other"),
        "which is not there",
    ),
    "a host that Django refuses": (_set("ConfigMap", "data/DJANGO_ALLOWED_HOSTS", "other"), "Django does not allow"),
    "a certificate for another host": (_set("Ingress", "spec/tls/0/hosts", ["other"]), "the certificate is for"),
    "an autoscaler without a target": (
        _set("HorizontalPodAutoscaler", "spec/scaleTargetRef/kind", "StatefulSet"),
        "HorizontalPodAutoscaler:",
    ),
    "at least more than at most": (_set("HorizontalPodAutoscaler", "spec/maxReplicas", 1), "at least more"),
    "a share of no request": (_set("Deployment", f"{CONTAINER}/resources/requests", {"cpu": "1"}), "requests none"),
    "a budget that keeps all": (_set("PodDisruptionBudget", "spec/minAvailable", 3), "no one may go"),
    "replicas": (_set("Deployment", "spec/replicas", 3), "overrule the autoscaler"),
    "no quantity": (_set("Deployment", f"{CONTAINER}/resources/requests/cpu", "abc"), "no quantity"),
    "a limit below the request": (
        _set("Deployment", f"{CONTAINER}/resources/limits/memory", "256Mi"),
        "below its request",
    ),
    "a volume of no size": (
        _set("Deployment", "spec/template/spec/volumes/0/emptyDir/sizeLimit", "big"),
        "no quantity",
    ),
    "killed too soon": (_set("Deployment", "spec/template/spec/terminationGracePeriodSeconds", 35), "killed before"),
    "a wait beyond the timeout": (
        _set("Deployment", f"{CONTAINER}/lifecycle/preStop/exec/command/4", "99"),
        "longer than its timeout",
    ),
    "a secret of another name": (
        _set("Deployment", f"{CONTAINER}/env/3/valueFrom/secretKeyRef/key", "SECRET"),
        "from the secret, which has",
    ),
    "a ConfigMap of another name": (
        _set("Deployment", f"{CONTAINER}/envFrom/0/configMapRef/name", "other"),
        "there is no ConfigMap other",
    ),
    "a key that is not there": (
        _set("Deployment", f"{CONTAINER}/env/1/valueFrom/configMapKeyRef/key", "HOSTS"),
        "has no HOSTS",
    ),
    "a variable before its time": (_set("Deployment", f"{CONTAINER}/env/0/name", "IP"), "POD_IP is not known"),
    "a secret in the ConfigMap": (_set("ConfigMap", "data/REDIS_URL", "redis://"), "are secrets"),
    "a secret that is written": (_set("Namespace", "kind", "Secret"), "none may be written"),
    "an account that is not there": (
        _set("Deployment", "spec/template/spec/serviceAccountName", "default"),
        "no ServiceAccount default",
    ),
    "root": (_set("Deployment", "spec/template/spec/securityContext/runAsUser", 0), "runs as root"),
    "no seccomp": (_set("Deployment", "spec/template/spec/securityContext/seccompProfile", {}), "no seccomp profile"),
    "a token": (_set("Deployment", "spec/template/spec/automountServiceAccountToken", True), "get a token"),
    "a root file system to write to": (
        _set("Deployment", f"{CONTAINER}/securityContext/readOnlyRootFilesystem", False),
        "more than it has to",
    ),
    "capabilities": (_set("Deployment", f"{CONTAINER}/securityContext/capabilities", {}), "more than it has to"),
    "nowhere to write to": (_set("Deployment", f"{CONTAINER}/volumeMounts", []), "has to be a volume"),
    "liveness that asks the store": (
        _set("Deployment", f"{CONTAINER}/livenessProbe/httpGet", {"path": "/readyz", "port": "http"}),
        "asks /readyz and not /healthz",
    ),
    "buffering": (_annotate("proxy-buffering", "on"), "buffers streams"),
    "a short timeout": (_annotate("proxy-read-timeout", "60"), "silent for a while"),
    "calls that are repeated": (_annotate("proxy-next-upstream", "error non_idempotent"), "runs tools twice"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_agree_is_found(wrong: str) -> None:
    documents = copy.deepcopy(objects(PLAIN))
    change, message = WRONG[wrong]
    change({document["kind"]: document for document in documents})
    assert any(message in problem for problem in problems_of(documents)), problems_of(documents)


def test_every_rule_is_proven_by_a_mistake() -> None:
    finding = set()
    for change, _ in WRONG.values():
        documents = copy.deepcopy(objects(PLAIN))
        change({document["kind"]: document for document in documents})
        everything = Objects(documents, documented_keys(PLAIN), PLAIN.policy.drain)
        finding |= {rule for rule in RULES if list(rule(everything))}
    assert finding == set(RULES)


@pytest.mark.parametrize(("text", "size"), [("500m", 0.5), ("1", 1), ("512Mi", 512 * 2**20), ("1.5G", 1.5e9)])
def test_quantities_are_read(text: str, size: float) -> None:
    assert quantity(text) == size


# -- what the options change -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("affinity", "hashed", "kept"),
    [
        ("none", None, "None"),
        ("session", "$http_mcp_session_id", "None"),
        ("address", "$binary_remote_addr", "ClientIP"),
    ],
)
def test_affinity_is_what_was_asked_for(affinity: str, hashed: str | None, kept: str) -> None:
    by_kind = {document["kind"]: document for document in objects(replace(PLAIN, affinity=affinity))}
    annotations = by_kind["Ingress"]["metadata"]["annotations"]
    assert annotations.get("nginx.ingress.kubernetes.io/upstream-hash-by") == hashed
    assert by_kind["Service"]["spec"]["sessionAffinity"] == kept


def test_numbers_are_those_of_the_deployment() -> None:
    deployment = VARIANTS["settings"]
    by_kind = {document["kind"]: document for document in objects(deployment)}
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == deployment.grace
    assert pod["containers"][0]["ports"] == [{"name": "http", "containerPort": 9000}]
    assert pod["containers"][0]["image"] == "registry.example.com:5000/shops/mcp:1.4.2"
    annotations = by_kind["Ingress"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] == str(deployment.read_timeout) == "960"
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == "400000000"
    assert by_kind["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["path"] == "/api/mcp"
    scaler = by_kind["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (deployment.nodes, deployment.most_nodes)
    [external] = [metric["external"] for metric in scaler["metrics"] if metric["type"] == "External"]
    assert external["metric"]["name"] == "response_time_p95"
    assert external["target"] == {"type": "Value", "value": str(deployment.p95_milliseconds)}


# -- Kustomize -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", ["production", "staging"])
@every_variant
def test_overlays_are_built_and_agree(deployment: Deployment, overlay: str, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:  # also in CI: Debian has none that is new enough
        pytest.skip("THE OVERLAYS WERE NOT BUILT: there is no kubectl")
    deployment = replace(deployment, kustomize=True)
    for name, text in emit("kubernetes", deployment).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    built = subprocess.run(  # noqa: S603
        [program("kubectl"), "kustomize", str(tmp_path / "overlays" / overlay)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (built.returncode, built.stderr) == (0, "")
    documents = list(yaml.safe_load_all(built.stdout))
    assert problems_of(documents, deployment) == []
    by_kind = {document["kind"]: document for document in documents}
    is_staging = overlay == "staging"
    assert by_kind["Namespace"]["metadata"]["name"] == deployment.namespace + ("-staging" if is_staging else "")
    assert by_kind["Ingress"]["spec"]["rules"][0]["host"] == ("staging." if is_staging else "") + deployment.host
    image = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == deployment.image
    if not is_staging:
        assert by_kind == {document["kind"]: document for document in objects(replace(deployment, kustomize=False))}
