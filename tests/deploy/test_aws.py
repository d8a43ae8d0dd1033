"""Generated files for AWS: accepted by cfn-lint and the SAM translator, and consistent with the backend."""

# ruff: noqa: S603 (the commands are this project's own)
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_transport.backends.dynamodb.table import DEFINITION, TIME_TO_LIVE, iam_policy
from mcp_transport.deployment import Deployment, generate
from mcp_transport.deployment.aws import BALANCER_IDLE, FARGATE_STOP
from mcp_transport.deployment.checks import deployment_warnings
from mcp_transport.domain.policy import Policy
from tests.support.programs import need

PLAIN = Deployment(policy=Policy(), name="shop", host="mcp.example.com", image="shop:1.4")
VARIANTS = {
    "plain": PLAIN,
    "one region": replace(PLAIN, regions="eu-central-1", table="Sessions.of-shop"),
    "warm": replace(PLAIN, provisioned_concurrency=5, reserved_concurrency=5, lambda_runtime="python3.14"),
    "no secrets": replace(PLAIN, secrets="REDIS_URL", path="/api/mcp", folder="infra/ops"),
}
BIN = Path(sys.executable).parent
every_variant = pytest.mark.parametrize("deployment", VARIANTS.values(), ids=VARIANTS)

TEMPLATES = {
    "aws-multiregion": ("table.yaml", "dns.yaml"),
    "aws-lambda": ("template.yaml", "streaming/template.yaml"),
}


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as their long ones."""


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    assert isinstance(node, yaml.ScalarNode)
    value = loader.construct_scalar(node)
    return {"Ref": value} if suffix == "Ref" else {f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _intrinsic)


def parsed(target: str, name: str, deployment: Deployment = PLAIN) -> Any:
    return yaml.load(generate(target, deployment)[name], Loader)  # noqa: S506 (it is a SafeLoader)


def templates(deployment: Deployment) -> dict[str, str]:
    files = {target: generate(target, deployment) for target in TEMPLATES}
    return {f"{target}/{name}": files[target][name] for target, names in TEMPLATES.items() for name in names}


# -- AWS's own tools -----------------------------------------------------------------------------------------


@cache
def lint(text: str) -> list[str]:
    """Return cfn-lint's findings; imported here, because it takes a second."""
    import cfnlint.api

    return [f"{match.rule.id} {match.message}" for match in cfnlint.api.lint(text)]


def translate(text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what SAM makes of a template. Raises: InvalidDocumentException."""
    from samtranslator.translator.transform import transform
    from samtranslator.yaml_helper import yaml_parse

    class NoPolicies:
        def load(self) -> dict[str, str]:
            return {}

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    template = yaml_parse(text.replace("CodeUri: build/", "CodeUri: s3://bucket/key"))
    return transform(template, {}, NoPolicies())


@pytest.mark.slow
@every_variant
def test_cfn_lint_finds_nothing(deployment: Deployment) -> None:
    for name, text in templates(deployment).items():
        assert lint(text) == [], name


FAULTS = {
    "aws-multiregion/table.yaml": [("PAY_PER_REQUEST", "PAY_PER_REQUESTS"), ("KeyType: HASH", "KeyType: HUSH")],
    "aws-multiregion/dns.yaml": [
        ("FailureThreshold: 3", "FailureThreshold: 33"),
        ("Failover: PRIMARY", "Failover: BACKUP"),
        ("!Ref UsEast1Health", "!Ref Missing"),
    ],
    # As SAM has translated it: cfn-lint does not look into SAM's own resources.
    "aws-lambda/template.yaml": [("!GetAtt Sessions.Arn", "!GetAtt Session.Arn"), ("Timeout: 29", "Timeout: 901")],
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, faults in FAULTS.items() for fault in faults])
def test_cfn_lint_finds_planted_faults(name: str, fault: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = templates(PLAIN)[name]
    assert fault[0] in text
    wrong = text.replace(*fault)
    if name.startswith("aws-lambda"):
        wrong = json.dumps(translate(wrong, monkeypatch))
    assert any(finding.startswith("E") for finding in lint(wrong))


@pytest.mark.slow
@every_variant
def test_sam_translates_both_templates_to_what_cfn_lint_accepts(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TEMPLATES["aws-lambda"]:
        translated = translate(generate("aws-lambda", deployment)[name], monkeypatch)
        assert lint(json.dumps(translated)) == []
        resources = translated["Resources"]
        [role] = [each for each in resources.values() if each["Type"] == "AWS::IAM::Role"]
        managed = {str(arn).rpartition("/")[2] for arn in role["Properties"]["ManagedPolicyArns"]}
        assert managed == {"AWSLambdaBasicExecutionRole"}, "it writes its log"


@pytest.mark.slow
def test_sam_finds_planted_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    from samtranslator.model.exceptions import InvalidDocumentException

    text = generate("aws-lambda", PLAIN)["template.yaml"]
    for right, wrong in (("Type: HttpApi", "Type: HttpApis"), ("!Ref Api, Method", "!Ref Apis, Method")):
        assert right in text
        with pytest.raises(InvalidDocumentException):
            translate(text.replace(right, wrong), monkeypatch)


# -- the table, and what may be done with it -----------------------------------------------------------------


def tables(deployment: Deployment) -> dict[str, Any]:
    """Return the properties of the table in each file."""
    resources = {
        name: parsed(target, name, deployment)["Resources"] for target, names in TEMPLATES.items() for name in names
    }
    resources["serverless.yml"] = parsed("aws-lambda", "serverless.yml", deployment)["resources"]["Resources"]
    return {name: found["Sessions"]["Properties"] for name, found in resources.items() if "Sessions" in found}


@every_variant
def test_each_table_is_as_the_backend_needs_it(deployment: Deployment) -> None:
    found = tables(deployment)
    assert len(found) == 4
    for name, properties in found.items():
        expected = {"TableName": deployment.table, **DEFINITION, "TimeToLiveSpecification": TIME_TO_LIVE}
        assert {key: properties[key] for key in expected} == expected, name
    replicas = [replica["Region"] for replica in found["table.yaml"]["Replicas"]]
    assert replicas == deployment.region_names


def test_nodes_and_functions_have_the_rights_of_the_backend_and_no_others() -> None:
    expected = [statement["Action"] for statement in iam_policy("MCPSessions")["Statement"]]
    serverless = parsed("aws-lambda", "serverless.yml")["provider"]["iam"]["role"]["statements"]
    policies = [
        serverless,
        *(
            parsed("aws-lambda", name)["Resources"]["Server"]["Properties"]["Policies"][0]["Statement"]
            for name in TEMPLATES["aws-lambda"]
        ),
    ]
    for statements in policies:
        actions = [each["Action"] if isinstance(each["Action"], list) else [each["Action"]] for each in statements]
        assert actions == expected
        assert [each["Resource"] for each in statements] == [
            {"Fn::GetAtt": "Sessions.Arn"},
            {"Fn::Sub": "${Sessions.Arn}/index/sessions"},
        ]
    stack = generate("aws-ecs", replace(PLAIN, store="dynamodb"))["stack.ts"]
    assert f"const rights = {json.dumps(expected[0])};" in stack
    assert f"actions: {json.dumps(expected[1])}, resources: indexes" in stack
    assert "dynamodb:" not in generate("aws-ecs", PLAIN)["stack.ts"]


# -- ECS -----------------------------------------------------------------------------------------------------


def entrypoint(deployment: Deployment) -> str:
    """Return the script of the task's entry point, from the TypeScript."""
    stack = generate("aws-ecs", deployment)["stack.ts"]
    [lines] = re.findall(r"^const ENTRYPOINT = \[\n(.*?)^\]\.join\(\"; \"\);$", stack, re.M | re.S)
    return "; ".join(re.findall(r"^  '(.*)',$", lines, re.M))


@pytest.mark.parametrize("store", ["redis", "dynamodb"])
def test_a_task_knows_its_address_and_its_store(store: str, tmp_path: Path) -> None:
    (tmp_path / "hostname").write_text("#!/bin/sh\necho 10.0.1.7\n")
    (tmp_path / "hostname").chmod(0o755)
    (tmp_path / "entrypoint.sh").write_text('echo "$DJANGO_ALLOWED_HOSTS" "$REDIS_URL" "$@"\n')
    script = entrypoint(replace(PLAIN, store=store)).replace("/entrypoint.sh", str(tmp_path / "entrypoint.sh"))
    variables = {"PUBLIC_HOSTS": ".mcp.example.com", "REDIS_PASSWORD": "secret", "REDIS_HOST": "redis.internal:6380"}
    environment = {**variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", script, "sh", "daphne", "a b"],  # noqa: S607
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    url = "rediss://:secret@redis.internal:6380/0" if store == "redis" else ""
    assert done.stdout == f".mcp.example.com,10.0.1.7 {url} daphne a b\n"


def test_the_task_starts_the_server_of_the_image_on_its_own_port() -> None:
    stack = generate("aws-ecs", replace(PLAIN, port=9000, server="uvicorn"))["stack.ts"]
    assert '"--port",\n  "8080",' in stack
    assert "9000" not in stack
    dockerfile = generate("docker", PLAIN)["Dockerfile"]
    assert 'ENTRYPOINT ["tini", "--", "sh", "/entrypoint.sh"]' in dockerfile, "which the task's entry point resembles"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("shop", ("shop", "latest")),
        ("shop:1.4", ("shop", "1.4")),
        ("team/shop:1.4", ("team/shop", "1.4")),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/team/shop:1.4", ("team/shop", "1.4")),
        ("registry:5000/shop", ("shop", "latest")),
        (f"shop:1.4@sha256:{'a' * 64}", ("shop", f"sha256:{'a' * 64}")),
    ],
)
def test_the_repository_is_the_image_s(image: str, expected: tuple[str, str]) -> None:
    stack = generate("aws-ecs", replace(PLAIN, image=image))["stack.ts"]
    [repository] = re.findall(r'this, "Repository", "(.+)"\)', stack)
    [reference] = re.findall(r'tryGetContext\("image"\) \?\? "(.+)"\)', stack)
    assert (repository, reference) == expected


def test_secrets_come_from_secrets_manager_and_no_other_variable_does() -> None:
    deployment = replace(PLAIN, secrets="DJANGO_SECRET_KEY,REDIS_URL,DATABASE_URL,DYNAMODB_TABLE,DJANGO_DEBUG")
    names = ["DJANGO_SECRET_KEY", "DATABASE_URL"]
    assert f"const SECRETS: string[] = {json.dumps(names)};" in generate("aws-ecs", deployment)["stack.ts"]
    variables = parsed("aws-lambda", "serverless.yml", deployment)["provider"]["environment"]
    references = {name: value for name, value in variables.items() if "resolve" in value}
    assert references == {name: f"{{{{resolve:secretsmanager:shop:SecretString:{name}}}}}" for name in names}
    for name in TEMPLATES["aws-lambda"]:
        function = parsed("aws-lambda", name, deployment)["Resources"]["Server"]["Properties"]
        assert references.items() <= function["Environment"]["Variables"].items()


AFFINITIES: dict[str, Callable[[str], bool]] = {
    "none": lambda stack: "stickinessCookie" not in stack,
    "address": lambda stack: "stickinessCookie" not in stack,
    "session": lambda stack: (
        'CookieName: "MCP-SESSION"' in stack and "CookieDuration: cdk.Duration.hours(1)" in stack
    ),
}


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_stickiness_is_an_option(affinity: str) -> None:
    assert AFFINITIES[affinity](generate("aws-ecs", replace(PLAIN, affinity=affinity))["stack.ts"])


def test_times_of_the_load_balancer_and_of_the_server_fit_together() -> None:
    for drain, keepalive in ((30.0, 15.0), (300.0, 15.0), (30.0, 40.0)):
        deployment = replace(PLAIN, policy=Policy(drain=drain, keepalive=keepalive))
        stack = generate("aws-ecs", deployment)["stack.ts"]
        [idle, stop] = [
            int(re.findall(rf"{name}: cdk\.Duration\.seconds\((\d+)\)", stack)[0])
            for name in ("idleTimeout", "stopTimeout")
        ]
        assert idle > keepalive
        assert stop <= FARGATE_STOP
        sentences = " ".join(deployment_warnings(deployment, Path("deploy"), {"aws-ecs"}))
        assert ("DRAIN_SECONDS" in sentences) is (drain > stop)
        assert ("KEEPALIVE_SECONDS" in sentences) is (idle > BALANCER_IDLE)
    assert BALANCER_IDLE < 60 <= PLAIN.keep_alive, "daphne's is 60"


def test_the_schedule_is_the_one_of_kubernetes() -> None:
    cron: dict[str, Any] = {
        "cron_start": "45 7 * * 1-5",
        "cron_end": "0 18 * * 1-5",
        "cron_timezone": "Europe/Berlin",
    }
    stack = generate("aws-ecs", replace(PLAIN, **cron, cron_replicas=10))["stack.ts"]
    assert "cron(45 7 ? * MON,TUE,WED,THU,FRI *)" in stack
    assert "cron(0 18 ? * MON,TUE,WED,THU,FRI *)" in stack
    assert 'TimeZone.of("Europe/Berlin")' in stack
    assert re.findall(r"minCapacity: (\d+)", stack) == ["3", "10", "3"]
    with pytest.raises(ValueError, match=r"^--cron-start: AWS takes a day of the month or a day of the week"):
        generate("aws-ecs", replace(PLAIN, **{**cron, "cron_start": "0 8 1 * mon"}, cron_replicas=10))


def test_each_accepted_finding_has_a_reason() -> None:
    for store in ("redis", "dynamodb"):
        stack = generate("aws-ecs", replace(PLAIN, store=store))["stack.ts"]
        accepted = re.findall(r'^\s+accept\(\w+, "([A-Z0-9]+)(?:\[.*?\])?", "(.{30,})"\);$', stack, re.M)
        assert len(accepted) == stack.count("accept(") - 1  # the function's own
        assert {rule for rule, _ in accepted} >= {"ECS2", "IAM5", "S1", "EC23"}


def test_the_lock_file_names_no_place_and_each_direct_package() -> None:
    files = generate("aws-ecs", PLAIN)
    package, lock = json.loads(files["package.json"]), json.loads(files["package-lock.json"])
    assert not [path for path, each in lock["packages"].items() if "resolved" in each]
    for kind in ("dependencies", "devDependencies"):
        assert lock["packages"][""][kind] == package[kind]
        for name, version in package[kind].items():
            assert lock["packages"][f"node_modules/{name}"]["version"] == version


# -- several regions -----------------------------------------------------------------------------------------


@every_variant
def test_each_name_leads_to_a_region_that_is_asked_for_its_health(deployment: Deployment) -> None:
    template = parsed("aws-multiregion", "dns.yaml", deployment)
    resources, host = template["Resources"], deployment.host
    records = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::Route53::RecordSet"]
    names = {record["Name"] for record in records}
    regions = deployment.region_names
    assert names == {host, *regions_of(host, regions), *regions_of(host, regions, "origin-")}
    for record in records:
        target = record["AliasTarget"]["DNSName"]
        assert target in names if isinstance(target, str) else target["Ref"] in template["Parameters"]
    checks = {
        name: each["Properties"]["HealthCheckConfig"]["FullyQualifiedDomainName"]
        for name, each in resources.items()
        if each["Type"] == "AWS::Route53::HealthCheck"
    }
    assert set(checks.values()) == {*regions_of(host, regions, "origin-")}
    pairs = [record for record in records if record.get("Failover")]
    for record in pairs:
        # The check of a record asks the load balancer that it leads to.
        assert checks[record["HealthCheckId"]["Ref"]] == origin_of(record["AliasTarget"]["DNSName"], records)
    for region in regions:
        kinds = [record["Failover"] for record in pairs if record["Name"] == f"{region}.{host}"]
        assert kinds == (["PRIMARY", "SECONDARY"] if len(regions) > 1 else ["PRIMARY"])
    assert [record["Region"] for record in records if record["Name"] == host] == regions


def regions_of(host: str, regions: list[str], prefix: str = "") -> list[str]:
    return [f"{prefix}{region}.{host}" for region in regions]


def origin_of(balancer: Any, records: list[Any]) -> str:
    [name] = [
        str(record["Name"])
        for record in records
        if record["AliasTarget"]["DNSName"] == balancer and not record.get("Failover")
    ]
    return name


# -- Lambda --------------------------------------------------------------------------------------------------


def test_serverless_and_sam_say_the_same() -> None:
    for deployment in VARIANTS.values():
        serverless = parsed("aws-lambda", "serverless.yml", deployment)
        sam = parsed("aws-lambda", "template.yaml", deployment)["Resources"]["Server"]["Properties"]
        provider, function = serverless["provider"], serverless["functions"]["server"]
        provisioned = sam.get("ProvisionedConcurrencyConfig", {}).get("ProvisionedConcurrentExecutions")
        assert (function["handler"], provider["runtime"]) == (sam["Handler"], sam["Runtime"])
        assert (provider["memorySize"], provider["timeout"]) == (sam["MemorySize"], sam["Timeout"])
        assert function["reservedConcurrency"] == sam["ReservedConcurrentExecutions"]
        assert function.get("provisionedConcurrency") == provisioned == (deployment.provisioned_concurrency or None)
        routes = [event["httpApi"] for event in function["events"]]
        assert [(route["method"].replace("*", "ANY"), route["path"]) for route in routes] == [
            (event["Properties"]["Method"], event["Properties"]["Path"]) for event in sam["Events"].values()
        ]
        own, other = dict(provider["environment"]), dict(sam["Environment"]["Variables"])
        assert own.pop("DJANGO_ALLOWED_HOSTS").partition(",")[0] == deployment.host
        assert other.pop("DJANGO_ALLOWED_HOSTS")["Fn::Sub"].partition(",")[0] == deployment.host
        assert own == other
        assert own["DYNAMODB_TABLE"] == deployment.table


@every_variant
def test_shells_and_linters_accept_the_scripts(deployment: Deployment) -> None:
    files = generate("aws-lambda", deployment)
    for linter, name in (("shellcheck", "build.sh"), ("hadolint", "streaming/Dockerfile")):
        done = subprocess.run(
            [str(BIN / linter), "-"], input=files[name], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (0, ""), linter


def test_the_package_has_the_project_and_none_of_its_secrets(tmp_path: Path) -> None:
    """With a pip that only makes the folder: `make test-aws` installs, packs and calls."""
    need("tar", "sh")
    project, kept = tmp_path / "project", {"manage.py", "shop/settings.py", "shop/.hidden", "requirements.txt"}
    left_out = {
        *(".env", ".env.production", "db.sqlite3", "shop/tls.key", ".git/config", "tests/test_x.py"),
        *("deploy/docker/Dockerfile", "shop/__pycache__/settings.cpython-312.pyc", ".venv/bin/python", "shop/a.pem"),
    }
    for name in kept | left_out:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "python3").chmod(0o755)
    folder = project / "deploy/aws/lambda"
    for name, text in generate("aws-lambda", PLAIN).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON_VERSION": "0"}
    done = subprocess.run(
        ["sh", str(folder / "build.sh")],  # noqa: S607
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("python0 is not installed")
    build = folder / "build"
    written = {path.relative_to(build).as_posix() for path in build.rglob("*") if path.is_file()}
    assert written == kept | {"serverless.yml"}


def test_a_missing_handler_is_warned_of() -> None:
    for handler, is_missing in (("mcpsite.lambda_handler.handler", False), ("mcpsite.nope.handler", True)):
        deployment = replace(PLAIN, lambda_handler=handler, settings_module="mcpsite.settings")
        sentences = list(deployment_warnings(deployment, Path("deploy"), {"aws-lambda"}))
        expected = "mcpsite.nope cannot be found: create it with"
        assert any(sentence.startswith(expected) for sentence in sentences) is is_missing
