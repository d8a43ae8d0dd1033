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
        cpu_request="250m",
        memory_request="256Mi",
        cpu_percent=80,
        p95_milliseconds=250,
        service_type="LoadBalancer",
        image_pull_secret="registry",
        egress_ports="6380,3306,443",
        dns="node-local",
        public_paths="/admin,/static",
        cluster_issuer="letsencrypt",
        trusted_proxies="10.244.0.0/16",
        env=("LOG_LEVEL=DEBUG", "SENTRY_ENVIRONMENT=production"),
    ),
    "haproxy": replace(PLAIN, ingress_class="haproxy", affinity="session", dns="openshift"),
    "traefik": replace(PLAIN, ingress_class="traefik-internal", ingress_namespace="kube-system"),
    "alb": replace(PLAIN, ingress_class="alb", ingress_network="10.0.0.0/16", affinity="address"),
    "gateway": replace(PLAIN, routes="gateway", gateway_namespace="gateways", cluster_issuer="letsencrypt"),
    "both": replace(PLAIN, routes="both", p95_operations="", public_paths="/admin"),
}
CUSTOM = {"Certificate", "HTTPRoute", "ServersTransport"}  # tests/deploy/test_custom_resources.py has their models

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
            if document["kind"] not in CUSTOM:
                kubernetes_validate.validate(document, version, strict=True)
    [scaler] = [document for document in objects(PLAIN) if document["kind"] == "HorizontalPodAutoscaler"]
    scaler["spec"]["behavior"]["scaleUp"]["policy"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(scaler, version, strict=True)


def test_all_kinds_are_there_and_none_twice() -> None:
    kinds = "ConfigMap Deployment HorizontalPodAutoscaler Ingress Job Namespace NetworkPolicy PodDisruptionBudget"
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
    "names_of_pods": _set("Job", "spec/template/metadata/labels", {"app.kubernetes.io/name": "mcp"}),
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
    by_kind = kinds(replace(PLAIN, affinity=affinity))
    annotations = by_kind["Ingress"]["metadata"]["annotations"]
    assert annotations.get("nginx.ingress.kubernetes.io/upstream-hash-by") == hashed
    service = by_kind["Service"]["spec"]
    assert service["sessionAffinity"] == kept
    timeout = {"clientIP": {"timeoutSeconds": 3600}} if kept == "ClientIP" else None
    assert service.get("sessionAffinityConfig") == timeout


def test_numbers_are_those_of_the_deployment() -> None:
    deployment = VARIANTS["settings"]
    by_kind = kinds(deployment)
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == deployment.termination_timeout
    assert pod["containers"][0]["ports"] == [{"name": "http", "containerPort": 9000}]
    assert pod["containers"][0]["image"] == "registry.example.com:5000/shops/mcp:1.4.2"
    annotations = by_kind["Ingress"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] == str(deployment.read_timeout) == "960"
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == "400000000"
    served = [path["path"] for path in by_kind["Ingress"]["spec"]["rules"][0]["http"]["paths"]]
    assert served == ["/api/mcp", "/.well-known/oauth-protected-resource", "/admin", "/static"]
    scaler = by_kind["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (deployment.min_replicas, deployment.max_replicas)
    [external] = [metric["external"] for metric in scaler["metrics"] if metric["type"] == "External"]
    assert external["metric"]["name"] == "response_time_p95"
    assert external["target"] == {"type": "Value", "value": "250"}
    processor, _ = [metric["resource"]["target"] for metric in scaler["metrics"] if metric["type"] == "Resource"]
    assert processor["averageUtilization"] == 80
    resources = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}
    job = by_kind["Job"]["spec"]["template"]["spec"]
    for spec in (pod, job):
        assert spec["containers"][0]["resources"] == resources
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert spec["containers"][0]["image"] == deployment.image
    assert job["containers"][0]["env"] == pod["containers"][0]["env"]
    settings = by_kind["ConfigMap"]["data"]
    assert settings["DJANGO_TRUSTED_PROXIES"] == "10.244.0.0/16"
    assert (settings["LOG_LEVEL"], settings["SENTRY_ENVIRONMENT"]) == ("DEBUG", "production")


def kinds(deployment: Deployment) -> dict[str, Document]:
    return {document["kind"]: document for document in objects(deployment)}


def test_the_network_policy_has_the_ports_and_networks_of_the_options() -> None:
    policy = kinds(VARIANTS["settings"])["NetworkPolicy"]["spec"]
    *names, other = policy["egress"]
    assert [port["port"] for port in other["ports"]] == [6380, 3306, 443]
    assert [rule["to"][0] for rule in names] == [
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
    ]
    openshift, _ = kinds(VARIANTS["haproxy"])["NetworkPolicy"]["spec"]["egress"]
    assert [port["port"] for port in openshift["ports"]] == [5353, 5353]


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("plain", ["ingress-nginx"]),
        ("haproxy", ["haproxy-controller"]),
        ("traefik", ["kube-system"]),
        ("alb", ["10.0.0.0/16"]),
        ("gateway", ["gateways"]),
        ("both", ["ingress-nginx", "mcp"]),
        ("settings", ["ingress-nginx", "0.0.0.0/0"]),
    ],
)
def test_requests_may_come_from_where_they_come_from(variant: str, expected: list[str]) -> None:
    [rule] = kinds(VARIANTS[variant])["NetworkPolicy"]["spec"]["ingress"]
    sources = [
        source["ipBlock"]["cidr"]
        if "ipBlock" in source
        else source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for source in rule["from"]
    ]
    assert sources == [*expected, "monitoring"]


@pytest.mark.parametrize("name", ["haproxy", "traefik", "alb"])
def test_an_ingress_class_has_its_own_annotations(name: str) -> None:
    by_kind = kinds(VARIANTS[name])
    prefixes = {"haproxy": "haproxy.org/", "traefik": "traefik.ingress.kubernetes.io/", "alb": "alb.ingress."}
    assert all(key.startswith(prefixes[name]) for key in by_kind["Ingress"]["metadata"]["annotations"])
    assert ("secretName" in by_kind["Ingress"]["spec"]["tls"][0]) is (name != "alb")
    if name == "traefik":
        [reference] = by_kind["Service"]["metadata"]["annotations"].values()
        transport = by_kind["ServersTransport"]["metadata"]
        assert reference == f"{transport['namespace']}-{transport['name']}@kubernetescrd"


def test_an_annotation_is_added_or_replaces_that_of_the_controller() -> None:
    own = ("nginx.ingress.kubernetes.io/proxy-read-timeout=900", 'example.com/note="a: b", c')
    annotations = kinds(replace(PLAIN, ingress_annotation=own))["Ingress"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "900"
    assert annotations["example.com/note"] == '"a: b", c'
    [only] = kinds(replace(PLAIN, ingress_class="kong", ingress_annotation=own[1:]))["Ingress"]["metadata"][
        "annotations"
    ]
    assert only == "example.com/note"
    assert "annotations" not in kinds(replace(PLAIN, ingress_class="kong"))["Ingress"]["metadata"]


def test_a_route_of_the_gateway_never_ends_a_stream() -> None:
    by_kind = kinds(VARIANTS["gateway"])
    assert "Ingress" not in by_kind
    [rule] = by_kind["HTTPRoute"]["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert "retry" not in rule
    assert by_kind["Certificate"]["spec"]["dnsNames"] == by_kind["HTTPRoute"]["spec"]["hostnames"]


def test_latency_scales_only_by_operations_that_were_named() -> None:
    for deployment, types in (
        (PLAIN, ["Resource", "Resource", "External"]),
        (VARIANTS["both"], ["Resource", "Resource"]),
    ):
        metrics = kinds(deployment)["HorizontalPodAutoscaler"]["spec"]["metrics"]
        assert [metric["type"] for metric in metrics] == types
    scaled = yaml.safe_load(generate("prometheus", VARIANTS["both"])["scaled-object.yaml"])
    assert [trigger["type"] for trigger in scaled["spec"]["triggers"]] == ["cpu", "memory"]


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


HOSTS: dict[str, Callable[[Any], str]] = {
    "Ingress": lambda spec: spec["rules"][0]["host"],
    "HTTPRoute": lambda spec: spec["hostnames"][0],
    "Certificate": lambda spec: spec["dnsNames"][0],
}


def job_of(folder: Path) -> Document:
    """Return what a folder of Kustomize builds: the Job alone."""
    line = [program("kubectl"), "kustomize", str(folder)]
    built = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    [job] = yaml.safe_load_all(built.stdout)
    return job  # type: ignore[no-any-return]


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
    check_all([*documents, job_of(tmp_path / "overlays" / overlay / "migrate")], deployment)
    by_kind = {document["kind"]: document for document in documents}
    is_staging = overlay == "staging"
    assert by_kind["Namespace"]["metadata"]["name"] == deployment.namespace + ("-staging" if is_staging else "")
    host = ("staging." if is_staging else "") + deployment.host
    for kind, path in HOSTS.items():
        if kind in by_kind:
            assert path(by_kind[kind]["spec"]) == host
    assert ("Ingress" in by_kind, "HTTPRoute" in by_kind) == (deployment.has_ingress, deployment.has_gateway)
    if "ServersTransport" in by_kind:
        [reference] = by_kind["Service"]["metadata"]["annotations"].values()
        assert reference == f"{by_kind['Namespace']['metadata']['name']}-{deployment.name}@kubernetescrd"
    image = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == deployment.image
    if is_staging and deployment.schedule.is_set:
        spec = by_kind["ScaledObject"]["spec"]
        assert [trigger["type"] for trigger in spec["triggers"]] == ["cpu", "memory", "prometheus"]
        assert 'namespace="mcp-staging"' in spec["triggers"][2]["metadata"]["query"]
    if not is_staging:
        expected = kinds(replace(deployment, kustomize=False))
        del expected["Job"]
        assert by_kind == expected
