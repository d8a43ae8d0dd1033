"""Generated Kubernetes objects: schemas, rules beyond schemas, and Kustomize overlays."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from mcp_transport.deployment import Deployment, generate
from mcp_transport.domain.policy import Policy
from tests.deploy.semantics import RULES, Document, Objects, check
from tests.support.processes import program

VERSIONS = ["1.30", "1.33", "1.37"]
PLAIN = Deployment(policy=Policy())
VARIANTS = {
    "plain": PLAIN,
    "one": replace(PLAIN, min_replicas=1, max_replicas=1),
    "session": replace(PLAIN, affinity="session", min_replicas=2, max_replicas=2, tls=False),
    "address": replace(PLAIN, affinity="address", name="shop", namespace="shops", host="shop.example.org"),
    "settings": Deployment(
        policy=Policy(drain=90.5, keepalive=120.0, max_request_bytes=100_000_000),
        secrets="DJANGO_SECRET_KEY,REDIS_URL,DATABASE_URL",
        image="registry.example.com:5000/shops/mcp:1.4.2",
        port=9000,
        path="/api/mcp",
    ),
}

SCHEDULED = replace(
    PLAIN, cron_start="0 8 * * 1-5", cron_end="0 18 * * 1-5", cron_timezone="Europe/Berlin", cron_replicas=10
)

every_variant = pytest.mark.parametrize("deployment", VARIANTS.values(), ids=VARIANTS)


def objects(deployment: Deployment) -> list[Document]:
    files = generate("kubernetes", deployment)
    return [
        document for name, text in files.items() if name.endswith(".yaml") for document in yaml.safe_load_all(text)
    ]


def documented_keys(deployment: Deployment) -> list[str]:
    """Return the documented keys of the secret."""
    return re.findall(r"^- `(\w+)`$", generate("kubernetes", deployment)["README.md"], re.M)


def check_all(documents: list[Document], deployment: Deployment = PLAIN) -> None:
    check(documents, secret_keys=documented_keys(deployment), drain=deployment.policy.drain)


# -- schemas ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_its_schema_wants(version: str) -> None:
    for deployment in VARIANTS.values():
        for document in objects(deployment):
            kubernetes_validate.validate(document, version, strict=True)
    [scaler] = [document for document in objects(PLAIN) if document["kind"] == "HorizontalPodAutoscaler"]
    scaler["spec"]["behavior"]["scaleUp"]["policy"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(scaler, version, strict=True)


def test_all_kinds_are_there_and_none_twice() -> None:
    kinds = "ConfigMap Deployment HorizontalPodAutoscaler Ingress Namespace NetworkPolicy PodDisruptionBudget"
    assert sorted(document["kind"] for document in objects(PLAIN)) == [*kinds.split(), "Service", "ServiceAccount"]


# -- rules beyond schemas --------------------------------------------------------------------------------


@every_variant
def test_objects_agree_with_each_other(deployment: Deployment) -> None:
    check_all(objects(deployment), deployment)


Change = Callable[[dict[str, Document]], Any]


def _set(kind: str, path: str, value: Any) -> Change:
    """Return a function that changes a member of an object; numbers in the path are list indices, ~ is a slash."""

    def change(by_kind: dict[str, Document]) -> None:
        steps = [step.replace("~", "/") for step in path.split("/")]
        *places, last = [int(step) if step.isdigit() else step for step in steps]
        place: Any = by_kind[kind]
        for step in places:
            place = place[step]
        place[last] = value

    return change


CONTAINER = "spec/template/spec/containers/0"
LIMIT = f"{CONTAINER}/resources/limits/memory"
WRONG: dict[str, Change] = {
    "names": _set("Service", "metadata/namespace", "other"),
    "selectors": _set("Service", "spec/selector", {}),
    "ports": _set("NetworkPolicy", "spec/ingress/0/ports/0/port", 80),
    "paths": _set("Ingress", "spec/rules/0/http/paths/0/backend/service/name", "other"),
    "hosts": _set("Ingress", "spec/tls/0/hosts", ["other"]),
    "scaling": _set("PodDisruptionBudget", "spec/minAvailable", 3),
    "quantities": _set("Deployment", LIMIT, "256Mi"),
    "ending": _set("Deployment", "spec/template/spec/terminationGracePeriodSeconds", 35),
    "environment": _set("Deployment", f"{CONTAINER}/env/0/name", "IP"),
    "secrets": _set("ConfigMap", "data/REDIS_URL", "redis://"),
    "hardening": _set("Deployment", f"{CONTAINER}/volumeMounts", []),
    "probes": _set("Deployment", f"{CONTAINER}/livenessProbe/httpGet/path", "/readyz"),
    "streams": _set("Ingress", "metadata/annotations/nginx.ingress.kubernetes.io~proxy-buffering", "on"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_sees_what_does_not_agree(rule: Callable[[Objects], None]) -> None:
    documents = copy.deepcopy(objects(PLAIN))
    everything = Objects(documents, documented_keys(PLAIN), PLAIN.policy.drain)
    rule(everything)
    WRONG[rule.__name__]({document["kind"]: document for document in documents})
    with pytest.raises(AssertionError):
        rule(everything)


# -- options ---------------------------------------------------------------------------------------------


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
    assert pod["terminationGracePeriodSeconds"] == deployment.termination_timeout
    assert pod["containers"][0]["ports"] == [{"name": "http", "containerPort": 9000}]
    assert pod["containers"][0]["image"] == "registry.example.com:5000/shops/mcp:1.4.2"
    annotations = by_kind["Ingress"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] == str(deployment.read_timeout) == "960"
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == "400000000"
    assert by_kind["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["path"] == "/api/mcp"
    scaler = by_kind["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (deployment.min_replicas, deployment.max_replicas)
    [external] = [metric["external"] for metric in scaler["metrics"] if metric["type"] == "External"]
    assert external["metric"]["name"] == "response_time_p95"
    assert external["target"] == {"type": "Value", "value": str(deployment.p95_milliseconds)}


def test_a_schedule_is_scaled_by_keda_alone() -> None:
    documents = objects(SCHEDULED)
    kinds = [document["kind"] for document in documents]
    assert (kinds.count("ScaledObject"), kinds.count("HorizontalPodAutoscaler")) == (1, 0)
    check_all(documents, SCHEDULED)
    [scaler] = [document["spec"] for document in documents if document["kind"] == "ScaledObject"]
    assert [trigger["type"] for trigger in scaler["triggers"]] == ["cpu", "memory", "prometheus", "cron"]
    assert scaler["triggers"][-1]["metadata"] == {
        "timezone": "Europe/Berlin",
        "start": "0 8 * * 1-5",
        "end": "0 18 * * 1-5",
        "desiredReplicas": "10",
    }
    assert set(generate("prometheus", SCHEDULED)) == {"service-monitor.yaml", "prometheus-rule.yaml"}


def test_without_a_schedule_keda_is_the_alternative() -> None:
    [scaler] = yaml.safe_load_all(generate("prometheus", PLAIN)["scaled-object.yaml"])
    assert [trigger["type"] for trigger in scaler["spec"]["triggers"]] == ["cpu", "memory", "prometheus"]


# -- Kustomize -------------------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.parametrize("overlay", ["production", "staging"])
@pytest.mark.parametrize("deployment", [*VARIANTS.values(), SCHEDULED], ids=[*VARIANTS, "scheduled"])
def test_overlays_are_built_and_agree(deployment: Deployment, overlay: str, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:  # also in CI: Debian's is too old
        pytest.skip("THE OVERLAYS WERE NOT BUILT: there is no kubectl")
    deployment = replace(deployment, kustomize=True)
    for name, text in generate("kubernetes", deployment).items():
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
    check_all(documents, deployment)
    by_kind = {document["kind"]: document for document in documents}
    is_staging = overlay == "staging"
    assert by_kind["Namespace"]["metadata"]["name"] == deployment.namespace + ("-staging" if is_staging else "")
    assert by_kind["Ingress"]["spec"]["rules"][0]["host"] == ("staging." if is_staging else "") + deployment.host
    image = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == deployment.image
    if is_staging and deployment.schedule.is_set:
        spec = by_kind["ScaledObject"]["spec"]
        assert [trigger["type"] for trigger in spec["triggers"]] == ["cpu", "memory", "prometheus"]
        assert 'namespace="mcp-staging"' in spec["triggers"][2]["metadata"]["query"]
    if not is_staging:
        assert by_kind == {document["kind"]: document for document in objects(replace(deployment, kustomize=False))}
