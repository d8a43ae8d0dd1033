"""Synthesises the generated CDK app with cdk-nag, and packs the function with osls; the artefact serves calls."""

# ruff: noqa: S603 (the commands are this project's own)
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest

from mcp_transport.deployment import Deployment, generate
from mcp_transport.domain.policy import Policy
from tests.support.dynamodb.server import REGION, VARIABLES, DynamoServer
from tests.support.processes import ROOT, program
from tests.support.programs import lacking, need

pytestmark = pytest.mark.aws_tools

CACHE = Path(os.environ.get("MCP_TEST_CACHE", Path.home() / ".cache" / "django-mcp-transport-tests"))
OSLS = "4.3.1"
SECONDS = 600
MAX_BYTES = 250 * 1000 * 1000
"""What Lambda allows an unpacked function, in the smaller of both meanings of MB."""

PLAIN = Deployment(policy=Policy(), name="shop", host="mcp.example.com", image="shop:1.4")
VARIANTS = {
    "redis": PLAIN,
    "dynamodb": replace(PLAIN, store="dynamodb", affinity="session", regions="eu-central-1", server="uvicorn"),
    "several regions": replace(PLAIN, store="dynamodb", regions="eu-central-1,us-east-1"),
    "scheduled": replace(
        PLAIN, cron_start="45 7 * * 1-5", cron_end="0 18 * * 1-5", cron_timezone="Europe/Berlin", cron_replicas=10
    ),
}


def run(*command: str, folder: Path, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    # No credentials, and no proxy that works: the tools may ask nobody.
    offline = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**kept, **VARIABLES, **offline, **(variables or {})}
    return subprocess.run(
        [*command], cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def installed(name: str, *arguments: str, files: dict[str, str]) -> Path:
    """Return a folder with packages of npm, which is filled once."""
    need("node", "npm")
    folder = CACHE / name
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text)
        command = [program("npm"), *arguments, "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode:
            lacking(f"npm could not install {name}: {done.stderr.strip()}")
        (folder / "complete").touch()
    return folder


# -- the CDK app ---------------------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with the packages of the generated lock file."""
    files = generate("aws-ecs", PLAIN)
    packages = {name: files[name] for name in ("package.json", "package-lock.json")}
    folder = installed("aws-ecs-2.276.0", "ci", files=packages)
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    yield tmp_path


def synthesise(app: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (app / name).write_text(text)
    cli = app / "node_modules/.bin/cdk"
    return run(str(cli), "synth", "--quiet", "--no-notices", "--no-version-reporting", folder=app)


@pytest.mark.parametrize("deployment", VARIANTS.values(), ids=VARIANTS)
def test_the_app_synthesises_offline_and_cdk_nag_and_cfn_lint_accept_it(deployment: Deployment, app: Path) -> None:
    done = synthesise(app, generate("aws-ecs", deployment))
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((app / "cdk.out/manifest.json").read_text())
    assert "missing" not in manifest, "nothing is to be looked up"
    report = json.loads((app / "cdk.out/validation-report.json").read_text())
    assert report["pluginReports"] == []
    template = (app / "cdk.out/Server.template.json").read_text()
    assert [f"{match.rule.id} {match.message}" for match in cfnlint.api.lint(template)] == []
    check_resources(json.loads(template)["Resources"], deployment)


def check_resources(resources: dict[str, Any], deployment: Deployment) -> None:
    """Compare with the numbers of the guide, and with the options."""

    def only(kind: str) -> Any:
        [found] = [each["Properties"] for each in resources.values() if each["Type"] == f"AWS::{kind}"]
        return found

    group, balancer = only("ElasticLoadBalancingV2::TargetGroup"), only("ElasticLoadBalancingV2::LoadBalancer")
    health = ("HealthCheckPath", "HealthCheckIntervalSeconds", "HealthCheckTimeoutSeconds")
    assert [group[name] for name in health] == ["/healthz", 30, 5]
    assert (group["HealthyThresholdCount"], group["UnhealthyThresholdCount"]) == (2, 3)
    assert (group["Port"], group["TargetType"], balancer["Scheme"]) == (8080, "ip", "internet-facing")
    attributes = {each["Key"]: each["Value"] for each in balancer["LoadBalancerAttributes"]}
    assert attributes["routing.http2.enabled"] == "true"
    assert attributes["idle_timeout.timeout_seconds"] == "50"
    sticky = {each["Key"]: each["Value"] for each in group["TargetGroupAttributes"]}
    if deployment.affinity == "session":
        assert sticky["stickiness.app_cookie.cookie_name"] == "MCP-SESSION"
        assert sticky["stickiness.app_cookie.duration_seconds"] == "3600"
    else:
        assert sticky["stickiness.enabled"] == "false"
    listener = only("ElasticLoadBalancingV2::Listener")
    assert (listener["Port"], listener["Protocol"], len(listener["Certificates"])) == (443, "HTTPS", 1)
    target = only("ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (deployment.min_replicas, deployment.max_replicas)
    assert len(target.get("ScheduledActions", [])) == (2 if deployment.schedule.is_set else 0)
    assert "DesiredCount" not in only("ECS::Service")
    kinds = {each["Type"] for each in resources.values()}
    assert ("AWS::ElastiCache::ReplicationGroup" in kinds) is (deployment.store == "redis")
    several, is_dynamo = deployment.several_regions, deployment.store == "dynamodb"
    assert ("AWS::DynamoDB::GlobalTable" in kinds) is (is_dynamo and not several)
    [container] = only("ECS::TaskDefinition")["ContainerDefinitions"]
    variables = {each["Name"]: each["Value"] for each in container["Environment"]}
    assert (variables.get("MCP_REGION"), variables.get("DYNAMODB_REGIONS")) == (
        (several[0], ",".join(several)) if several else (None, None)
    )
    rights = json.dumps([each for each in resources.values() if each["Type"] == "AWS::IAM::Policy"])
    assert all(f":dynamodb:{region}:" in rights for region in several)


@pytest.mark.parametrize(
    ("right", "wrong", "finding"),
    [
        ('accept(bucket, "S1"', 'accept(bucket, "S10"', "AwsSolutions-S1"),
        ("transitEncryptionEnabled: true", "transitEncryptionEnabled: false", "AwsSolutions-AEC3"),
        ("internetFacing: true,", "internetFacing: 1,", "TS2322"),
    ],
)
def test_cdk_nag_and_the_compiler_see_what_is_wrong(right: str, wrong: str, finding: str, app: Path) -> None:
    files = generate("aws-ecs", PLAIN)
    assert right in files["stack.ts"]
    done = synthesise(app, {**files, "stack.ts": files["stack.ts"].replace(right, wrong)})
    assert done.returncode != 0
    assert finding in done.stdout + done.stderr


# -- the function's package ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the unzipped artefact of osls for the demonstration."""
    project = tmp_path_factory.mktemp("project")
    for name in ("mcpsite", "mcp_transport"):
        shutil.copytree(ROOT / name, project / name)
    for name in ("manage.py", "requirements.txt"):
        shutil.copy(ROOT / name, project)
    shutil.copytree(ROOT / "deploy/aws/lambda", project / "deploy/aws/lambda", ignore=shutil.ignore_patterns("build"))
    folder = project / "deploy/aws/lambda"
    version = {"PYTHON_VERSION": f"{sys.version_info[0]}.{sys.version_info[1]}"}
    # pip may ask the index; nothing after it may.
    built = subprocess.run(
        ["sh", "build.sh"],  # noqa: S607
        cwd=folder,
        env={**os.environ, **version},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    osls = installed(f"osls-{OSLS}", "install", f"osls@{OSLS}", files={"package.json": '{"private": true}'})
    variables = {"SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off"}
    done = run(str(osls / "node_modules/.bin/osls"), "package", folder=folder / "build", variables=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    stack = (folder / "build/.serverless/cloudformation-template-update-stack.json").read_text()
    assert [match.message for match in cfnlint.api.lint(stack) if match.rule.id.startswith("E")] == []
    unzipped = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(folder / "build/.serverless/shop.zip") as archive:
        archive.extractall(unzipped)
    shutil.rmtree(project)  # the artefact is all that there is
    return unzipped


# In a bare Python: no packages of its own (-S), no variables and no folder of the caller (-I).
SERVE = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
os.environ["DJANGO_SETTINGS_MODULE"] = "mcpsite.settings"
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("load_demo", force=True, stdout=sys.stderr)
call_command("mcp_dynamodb", "create", stdout=sys.stderr)
User.objects.create_user("ann")
with open("token", "w") as file:
    call_command("mcp_tokens", "create", "ann", stdout=file, stderr=sys.stderr)
token = open("token").read().strip()
from mcpsite.lambda_handler import handler

def post(body, **headers):
    own = {"content-type": "application/json", "accept": "application/json, text/event-stream",
           "authorization": f"Bearer {token}", "host": "shop.example.com", "x-forwarded-proto": "https", **headers}
    http = {"method": "POST", "path": "/mcp", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "test"}
    context = {"http": http, "stage": "$default", "domainName": "shop.example.com", "requestId": "1",
               "accountId": "1", "apiId": "1", "routeKey": "ANY /mcp", "timeEpoch": 0}
    answer = handler({"version": "2.0", "routeKey": "ANY /mcp", "rawPath": "/mcp", "rawQueryString": "",
                      "headers": own, "requestContext": context, "body": json.dumps(body),
                      "isBase64Encoded": False}, None)
    return answer["statusCode"], {k.lower(): v for k, v in answer["headers"].items()}, json.loads(answer["body"])

meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}}
modern = post({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
               "params": {"name": "search_products", "arguments": {"text": "mug"}, "_meta": meta}},
              **{"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "search_products"})
opened = post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
    "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}})
session = opened[1].get("mcp-session-id", "")
listed = post({"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
              **{"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"})
files = [(name, vars(module).get("__file__") or "") for name, module in [*sys.modules.items()]]
outside = [name for name, file in files if "site-packages" in file or "dist-packages" in file]
print(json.dumps({"modern": modern, "opened": opened, "listed": listed, "outside": outside}))
"""


def test_the_artefact_is_small_enough(artefact: Path) -> None:
    size = sum(path.stat().st_size for path in artefact.rglob("*") if path.is_file())
    assert size < MAX_BYTES
    names = {path.name for path in artefact.iterdir()}
    assert names.isdisjoint({"serverless.yml", ".serverless", "tests", "deploy", ".env", "bin"})
    print(f"{size / 1e6:.0f} MB")


def test_the_artefact_alone_serves_calls(artefact: Path, tmp_path: Path) -> None:
    with DynamoServer() as server:
        environment = {
            **VARIABLES,
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL_DYNAMODB": server.url,
            "AWS_DEFAULT_REGION": REGION,
            "DYNAMODB_TABLE": "MCPSessions",
            "DJANGO_DEBUG": "false",
            "DJANGO_SECRET_KEY": "x" * 60,
            "DEMO_ADMIN_PASSWORD": "of-the-test-alone",
            "DJANGO_ALLOWED_HOSTS": "shop.example.com",
            "MCPSITE_DATABASE": str(tmp_path / "db.sqlite3"),
        }
        done = subprocess.run(
            [sys.base_prefix + "/bin/python3", "-I", "-S", "-c", SERVE, str(artefact)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    served = json.loads(done.stdout.splitlines()[-1])
    assert served["outside"] == [], "all comes from the artefact"
    status, _, answer = served["modern"]
    assert (status, answer["result"]["isError"]) == (200, False)
    assert "mug" in json.dumps(answer["result"]["structuredContent"])
    assert served["opened"][0] == 200
    assert served["opened"][1]["mcp-session-id"]
    assert served["listed"][0] == 200
    assert {tool["name"] for tool in served["listed"][2]["result"]["tools"]} >= {"search_products", "place_order"}
