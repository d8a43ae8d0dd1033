"""Validates objects for the Prometheus operator and KEDA against models of their custom resources from npm."""

# ruff: noqa: S603 (the commands are this project's own)
from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_transport.deployment import Deployment, generate
from mcp_transport.domain.policy import Policy
from tests.support.processes import program
from tests.support.programs import lacking, need

pytestmark = pytest.mark.slow_deploy

PACKAGES = {
    "@kubernetes-models/prometheus-operator": "6.0.0",
    "@kubernetes-models/keda": "2.0.0",
    "@kubernetes-models/gateway-api": "2.0.0",
    "@kubernetes-models/cert-manager": "6.0.0",
    "@kubernetes-models/traefik": "2.0.0",
}
CACHE = Path(os.environ.get("MCP_TEST_CACHE", Path.home() / ".cache" / "django-mcp-transport-tests"))
INSTALL_SECONDS = 300

# Reads a list of documents; writes the validation error of each, or null.
CHECK = """
import * as operator from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import * as keda from "@kubernetes-models/keda/keda.sh/v1alpha1";
import * as gateway from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import * as certificates from "@kubernetes-models/cert-manager/cert-manager.io/v1";
import * as traefik from "@kubernetes-models/traefik/traefik.io/v1alpha1";
let text = "";
for await (const piece of process.stdin) text += piece;
const known = { ...operator, ...keda, ...gateway, ...traefik, ...certificates };
const problems = JSON.parse(text).map((document) => {
  try {
    new known[document.kind](document).validate();
    return null;
  } catch (error) {
    return String(error);
  }
});
console.log(JSON.stringify(problems));
"""

CUSTOM = ("service-monitor.yaml", "prometheus-rule.yaml", "scaled-object.yaml")
WRONG = {
    "service-monitor.yaml": ("endpoints", [{"port": 80}]),
    "prometheus-rule.yaml": ("groups", [{"rules": []}]),
    "scaled-object.yaml": ("triggers", [{"type": "cpu"}]),
}


@pytest.fixture(scope="module")
def check() -> Callable[..., list[str | None]]:
    """Install the models once; return the validator."""
    need("node", "npm")
    folder = CACHE / "-".join(["kubernetes-models", *PACKAGES.values()])
    complete = folder / "complete"
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}))
        command = [program("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        if done.returncode:
            lacking(f"npm could not install {', '.join(PACKAGES)}: {done.stderr.strip()}")
        complete.touch()

    def validate(*documents: Any) -> list[str | None]:
        (folder / "check.mjs").write_text(CHECK)
        done = subprocess.run(
            [program("node"), "check.mjs"],
            cwd=folder,
            input=json.dumps(documents),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        result: list[str | None] = json.loads(done.stdout)
        return result

    return validate


SCHEDULED = Deployment(
    policy=Policy(),
    cron_start="0 8 * * 1-5",
    cron_end="0 18 * * 1-5",
    cron_timezone="Europe/Berlin",
    cron_replicas=10,
)


def document(name: str) -> Any:
    return yaml.safe_load(generate("prometheus", Deployment(policy=Policy()))[name])


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_resource_is_what_its_model_wants(name: str, check: Callable[..., list[str | None]]) -> None:
    assert check(document(name)) == [None]


def test_a_schedule_is_what_the_model_wants(check: Callable[..., list[str | None]]) -> None:
    assert check(yaml.safe_load(generate("kubernetes", SCHEDULED)["scaled-object.yaml"])) == [None]


ROUTED = Deployment(
    policy=Policy(),
    routes="both",
    ingress_class="traefik",
    cluster_issuer="letsencrypt",
    gateway_namespace="gateways",
)
OF_ROUTES = {
    "http-route.yaml": ("rules", [{"timeouts": {"request": 0}}]),
    "certificate.yaml": ("issuerRef", {}),
    "servers-transport.yaml": ("forwardingTimeouts", "none"),
}


@pytest.mark.parametrize("name", OF_ROUTES)
def test_what_leads_to_the_service_is_what_its_model_wants(name: str, check: Callable[..., list[str | None]]) -> None:
    right = yaml.safe_load(generate("kubernetes", ROUTED)[name])
    member, value = OF_ROUTES[name]
    fine, problem = check(right, {**right, "spec": {**right["spec"], member: value}})
    assert fine is None
    assert problem
    assert member in problem


@pytest.mark.parametrize("name", CUSTOM)
def test_models_see_what_is_wrong(name: str, check: Callable[..., list[str | None]]) -> None:
    wrong = document(name)
    member, value = WRONG[name]
    wrong["spec"][member] = value
    [problem] = check(wrong)
    assert problem
    assert member in problem
