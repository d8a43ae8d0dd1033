"""Targets `aws-ecs`, `aws-multiregion`, `aws-lambda`: a CDK app, CloudFormation, Serverless Framework, SAM."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from textwrap import indent
from typing import Any, Final

from mcp_transport import session_backend
from mcp_transport.deployment import docker, server
from mcp_transport.deployment.cron import aws_expression
from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = [
    "BALANCER_IDLE",
    "FARGATE_STOP",
    "HEALTH",
    "PORT",
    "balancer_idle",
    "ecs_files",
    "lambda_files",
    "multiregion_files",
]

PORT: Final = 8080
"""The port of the tasks: the command line of the server comes from the task definition, not from the image."""

HEALTH: Final = {"interval": 30, "timeout": 5, "healthy": 2, "unhealthy": 3}
"""Parameters of the load balancer's health check; seconds, and numbers of checks."""

BALANCER_IDLE: Final = 50
"""The idle timeout of the load balancer in seconds: shorter than that of any server (daphne: 60)."""

FARGATE_STOP: Final = 120
"""The maximum of `stopTimeout` of Fargate in seconds."""

API_TIMEOUT: Final = 29
"""How long a call may take in seconds: API Gateway waits for 30 s."""

LAMBDA_TIMEOUT: Final = 900
"""The maximum of AWS Lambda in seconds: how long a stream may be open."""

_ECS: Final = (
    *(
        "README.md",
        "app.ts",
        "stack.ts",
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "cdk.json",
        ".gitignore",
    ),
)
_MULTIREGION: Final = ("README.md", "table.yaml", "dns.yaml")
_LAMBDA: Final = (
    *("README.md", "build.sh", "serverless.yml", "template.yaml", ".gitignore"),
    *("streaming/Dockerfile", "streaming/template.yaml"),
)
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_API_HOSTS: Final = ".execute-api.${AWS::Region}.${AWS::URLSuffix}"
_URL_HOSTS: Final = ".lambda-url.${AWS::Region}.on.aws"
_SET_BY_FILES: Final = frozenset(
    {
        *(
            "AWS_DEFAULT_REGION",
            "DYNAMODB_TABLE",
            "DYNAMODB_REGIONS",
            "LOG_LEVEL",
            "REDIS_HOST",
            "REDIS_PASSWORD",
            "REDIS_URL",
        ),
        *("AWS_LAMBDA_EXEC_WRAPPER", "AWS_LWA_INVOKE_MODE", "AWS_LWA_READINESS_CHECK_PATH", "PORT"),
    }
)


def ecs_files(deployment: Deployment) -> Files:
    """Return a CDK app: VPC, load balancer, service, autoscaling and store. Raises: ValueError naming the option."""
    _check_regions(deployment)
    repository, reference = _image(deployment.image)
    context = {
        **_table(deployment),
        "health": HEALTH,
        "port": PORT,
        "idle_timeout": balancer_idle(deployment),
        "stop_timeout": min(FARGATE_STOP, deployment.server_timeout + 5),
        "command": server.command(deployment, port=str(PORT)),
        "secrets": _secrets(deployment),
        "environment": _environment(deployment),
        "repository": repository,
        "reference": reference,
        "schedule": _schedule(deployment),
        "is_redis": deployment.store == "redis",
    }
    return _rendered(deployment, "ecs", _ECS, context)


def multiregion_files(deployment: Deployment) -> Files:
    """Return CloudFormation templates of a global table, and of Route 53's records and health checks.

    Raises:
        ValueError: `regions` are not all of AWS.
    """
    _check_regions(deployment)
    regions = [{"name": name, "id": _logical_id(name)} for name in deployment.region_names]
    for region, following in zip(regions, [*regions[1:], regions[0]], strict=True):
        region |= {"next": following["name"], "next_id": following["id"]}
    return _rendered(deployment, "multiregion", _MULTIREGION, {**_table(deployment), "regions": regions})


def lambda_files(deployment: Deployment) -> Files:
    """Return a Serverless Framework file, a SAM template, what fills the package, and a variant with streams."""
    folder = PurePosixPath(deployment.folder, "aws", "lambda")
    shared = {**_table(deployment), "secrets": _secrets(deployment), "open": "{{", "close": "}}"}
    buffered = {"hosts": _API_HOSTS, "timeout": API_TIMEOUT, "adapter": False}
    streaming = {"hosts": _URL_HOSTS, "timeout": LAMBDA_TIMEOUT, "adapter": True}
    context = {
        **shared,
        "folder": folder,
        "project": "/".join([".."] * len(folder.parts)),
        "python": deployment.lambda_runtime.removeprefix("python"),
        "store": render("aws/lambda/table.yaml", deployment, **shared).rstrip(),
        "function": render("aws/lambda/function.yaml", deployment, **shared, **buffered).rstrip(),
        "streaming": render("aws/lambda/function.yaml", deployment, **shared, **streaming).rstrip(),
        "api_timeout": API_TIMEOUT,
        "packages": docker.PACKAGES["uvicorn"],
        "command": json.dumps(server.command(replace(deployment, server="uvicorn"), port=str(PORT))),
        "port": PORT,
    }
    ignored = render("docker/Dockerfile.dockerignore", deployment)
    return {**_rendered(deployment, "lambda", _LAMBDA, context), "streaming/Dockerfile.dockerignore": ignored}


def balancer_idle(deployment: Deployment) -> int:
    """Return the idle timeout of an Application Load Balancer in seconds: longer than between two comments."""
    return max(BALANCER_IDLE, math.ceil(2 * deployment.policy.keepalive))


def _check_regions(deployment: Deployment) -> None:
    """Check that the regions are AWS's. Raises: ValueError naming the option."""
    for name in deployment.region_names:
        if not _REGION.fullmatch(name):
            raise ValueError(f"--regions: must be regions of AWS, such as eu-west-1, got {name!r}")


def _rendered(deployment: Deployment, folder: str, names: Sequence[str], context: Mapping[str, Any]) -> Files:
    # Build tools leave hidden files out of wheels.
    templates = {name: f"aws/{folder}/{name.removeprefix('.')}" for name in names}
    return {name: render(template, deployment, **context) for name, template in templates.items()}


def _table(deployment: Deployment) -> dict[str, Any]:
    """Return what templates need of the table: its definition, and what nodes may do with it and with its index."""
    definition = session_backend.table_definition()
    keys = render("aws/keys.yaml", deployment, definition=definition).rstrip()
    table, index = session_backend.table_policy(None, "*", "aws", creates=False)["Statement"]
    return {
        "definition": definition,
        "keys": indent(keys, 6 * " "),
        "deeper_keys": indent(keys, 8 * " "),
        "rights": {"table": table["Action"], "index": index["Action"]},
        "index": definition["GlobalSecondaryIndexes"][0]["IndexName"],
        "ttl": definition["TimeToLiveSpecification"]["AttributeName"],
    }


def _logical_id(region: str) -> str:
    return "".join(part.title() for part in region.split("-"))


def _secrets(deployment: Deployment) -> list[str]:
    return [name for name in deployment.secret_names if name not in _SET_BY_FILES]


def _environment(deployment: Deployment) -> dict[str, str]:
    own = {name: value for name, value in deployment.environment.items() if name not in _SET_BY_FILES - {"LOG_LEVEL"}}
    return {"LOG_LEVEL": "INFO", **own}


def _image(image: str) -> tuple[str, str]:
    """Return the ECR repository of an image, without a registry, and its tag or digest."""
    first, slash, rest = image.partition("/")
    path = rest if slash and ("." in first or ":" in first) else image
    if "@" in path:
        name, _, digest = path.partition("@")
        return name.partition(":")[0], digest
    name, _, tag = path.partition(":")
    return name, tag or "latest"


def _schedule(deployment: Deployment) -> dict[str, str]:
    """Return the schedule in AWS's form. Raises: ValueError naming the option."""
    if not deployment.schedule.is_set:
        return {}
    expressions = {}
    for name, value in (("start", deployment.cron_start), ("end", deployment.cron_end)):
        try:
            expressions[name] = aws_expression(value)
        except ValueError as error:
            raise ValueError(f"--cron-{name}: {error}") from error
    return expressions
