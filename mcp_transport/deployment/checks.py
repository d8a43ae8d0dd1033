"""Warnings about settings and paths with which the generated files would not work, and how to fix them."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path, PurePosixPath
from typing import Final

from mcp_transport.deployment import aws, ingress, project
from mcp_transport.deployment.options import Deployment
from mcp_transport.deployment.preflight import ProjectReport

__all__ = ["RUNS_PROJECT", "STARTS_APPLICATION", "deployment_warnings", "needs_preflight", "project_warnings"]

STARTS_APPLICATION: Final = frozenset({"docker", "systemd"})
"""Targets whose files start the ASGI application."""

RUNS_PROJECT: Final = frozenset({"docker", "compose", "kubernetes", "systemd", "aws-ecs", "aws-lambda"})
"""Targets whose files run the project."""

_CONTAINERS: Final = frozenset({"docker", "compose", "kubernetes", "aws-ecs", "aws-lambda"})
_FUNCTIONS: Final = frozenset({"aws-lambda"})  # the endpoint alone, behind no proxy
_PROXIES: Final = frozenset({"nginx", "haproxy", "caddy", "traefik"})
_HIDDEN_FROM_UNITS: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (units have their own /tmp)
_MULTI_NODE: Final = frozenset({"compose", "kubernetes", "systemd", "aws-ecs", "aws-lambda", *_PROXIES})
_ROUTES: Final = frozenset({"compose", "kubernetes", "aws-lambda", *_PROXIES})  # have the path of the endpoint


def needs_preflight(targets: Set[str]) -> bool:
    """Return whether the warnings for any of these targets depend on the project."""
    return bool(targets & (RUNS_PROJECT | _PROXIES))


def deployment_warnings(deployment: Deployment, output: Path, targets: Set[str]) -> Iterator[str]:
    """Yield warnings that do not depend on the project's settings."""
    directory = PurePosixPath(deployment.directory)
    hidden = next((folder for folder in _HIDDEN_FROM_UNITS if directory.is_relative_to(folder)), None)
    if "systemd" in targets and hidden:
        yield (
            f"The units cannot read {hidden} (ProtectHome, PrivateTmp), and so not {deployment.directory}: move the "
            f"project, for instance to /srv/{deployment.name}, and set --directory to it."
        )
    if targets & {"docker", "aws-lambda"} and not (project.root() / "requirements.txt").is_file():
        yield (
            f"{project.root()} has no requirements.txt, which the Dockerfile and Lambda's build.sh install: list the "
            "dependencies of the project there, with django-mcp-transport[redis] or [aws]."
        )
    yield from _aws_warnings(deployment, targets)
    if "kubernetes" in targets:
        yield from _kubernetes_warnings(deployment)
    if targets & {"docker", "compose", "aws-lambda"} and not project.is_inside(output):
        yield (
            f"{output.resolve()} is outside the project's folder: move the files to {project.root() / 'deploy'}, "
            "which their relative paths expect."
        )


def _kubernetes_warnings(deployment: Deployment) -> Iterator[str]:
    name = deployment.image.rpartition("/")[2]
    if name.endswith(":latest") or not {":", "@"} & {*name}:
        yield (
            f"The image {deployment.image} has no version, so pods may run different ones, and there is no way back: "
            "use --image with a tag or a digest."
        )
    if deployment.has_ingress and ingress.controller(deployment) is None:
        yield (
            f"The ingress class {deployment.ingress_class} is none of {', '.join(ingress.CONTROLLERS)}, so the "
            "Ingress has no annotations that keep streams from being buffered or ended: add them with "
            "--ingress-annotation, or name the class after its controller, such as nginx-internal."
        )


def _aws_warnings(deployment: Deployment, targets: Set[str]) -> Iterator[str]:
    if "aws-ecs" in targets and deployment.server_timeout + 5 > aws.FARGATE_STOP:
        yield (
            f"Fargate kills a task {aws.FARGATE_STOP} s after SIGTERM, and DRAIN_SECONDS is {deployment.drain}: "
            f"longer calls are lost. Set it to {aws.FARGATE_STOP - 15} at most."
        )
    if "aws-ecs" in targets and 2 * deployment.policy.keepalive > aws.BALANCER_IDLE:
        yield (
            f"KEEPALIVE_SECONDS is {deployment.policy.keepalive:g}, so the load balancer keeps idle connections for "
            f"longer than daphne, and some requests get 502: set it to {aws.BALANCER_IDLE // 2} at most."
        )
    module, _, name = deployment.lambda_handler.rpartition(".")
    if "aws-lambda" in targets and not project.exists(module):
        yield (
            f"{module} cannot be found: create it with `from mcp_transport.adapters.aws_lambda import "
            f'lambda_handler` and `{name} = lambda_handler("{deployment.settings_module}")`, or set --lambda-handler.'
        )


def project_warnings(deployment: Deployment, report: ProjectReport, targets: Set[str]) -> list[str]:
    """Return warnings about the project for these targets."""
    if report.settings_error:
        if not targets & RUNS_PROJECT:
            return []
        return [
            f"{deployment.settings_module} cannot be loaded with the environment of the generated files "
            f"({report.settings_error}): list the variables that it needs in --secrets, or give them defaults."
        ]
    return [sentence for check in _CHECKS for sentence in check(deployment, report, targets)]


def _debug(deployment: Deployment, report: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if report.is_debug and targets & RUNS_PROJECT:
        yield (
            f"DEBUG is True in {deployment.settings_module} although DJANGO_DEBUG is false: set DEBUG = False for "
            "production, or use other settings with --settings."
        )


def _hosts(deployment: Deployment, report: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if not report.has_host and targets & (RUNS_PROJECT | _PROXIES):
        yield (
            f"ALLOWED_HOSTS of {deployment.settings_module} lacks {deployment.host}, so every request gets 400: "
            "add it, read DJANGO_ALLOWED_HOSTS there, or set another --host."
        )


def _https(deployment: Deployment, report: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if deployment.tls and not report.trusts_https_header and targets & (RUNS_PROJECT - _FUNCTIONS | _PROXIES):
        yield (
            f"SECURE_PROXY_SSL_HEADER of {deployment.settings_module} is not X-Forwarded-Proto, so Django "
            "treats HTTPS as HTTP and refuses the admin's forms with 403: set it to "
            '("HTTP_X_FORWARDED_PROTO", "https") (docs/howto/deploy-with-daphne.md, Settings for production).'
        )


def _path(deployment: Deployment, report: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if report.paths and deployment.path not in report.paths and targets & _ROUTES:
        path = report.paths[0]
        yield f"The endpoint is at {path}, but the generated files have {deployment.path}: use --path {path}."


def _secret_key(deployment: Deployment, report: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if report.has_example_key and targets & RUNS_PROJECT:
        yield (
            f"SECRET_KEY of {deployment.settings_module} is the insecure one of startproject: read it from the "
            "environment, and list the variable in --secrets."
        )


def _sessions(deployment: Deployment, report: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if not targets & _MULTI_NODE or deployment.min_replicas == 1:
        return
    shared = (
        "use Redis for the cache of MCP_TRANSPORT['CACHE'] (docs/howto/redis.md) or the backend 'dynamodb' "
        "(docs/howto/dynamodb.md)"
    )
    is_local = report.cache == "FileBasedCache" and bool(targets & _MULTI_NODE - {"systemd"})
    if report.backend == "memory" or (report.backend == "cache" and is_local):
        store = "the memory of one process" if report.backend == "memory" else "files of one machine"
        yield f"Sessions are in {store}: all of {deployment.min_replicas} nodes but one answer 404; {shared}."
    elif report.backend == "cache" and deployment.affinity == "none":
        yield (
            f"Calls and streams are not shared through a {report.cache}, so {deployment.min_replicas} nodes cannot "
            f"serve each other's: {shared}, or set --affinity."
        )


def _databases(deployment: Deployment, report: ProjectReport, targets: Set[str]) -> Iterator[str]:
    aliases = ", ".join(repr(alias) for alias in report.sqlite)
    writable = f"/var/lib/{deployment.name}/"
    if report.sqlite and targets & _CONTAINERS:
        yield (
            f"The database {aliases} is an SQLite file, which containers neither share nor can write: use a database "
            "server, and list the variable with its address in --secrets."
        )
    elif "systemd" in targets and not all(path.startswith(writable) for path in report.sqlite.values()):
        yield (
            f"The database {aliases} is an SQLite file where the units cannot write: move it to {writable}, or use a "
            "database server."
        )


def _static_files(deployment: Deployment, report: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if not report.has_static_files or report.serves_static_files:
        return
    if not report.static_root and targets & (RUNS_PROJECT - _FUNCTIONS | _PROXIES):
        yield (
            f"STATIC_ROOT is not set in {deployment.settings_module}, so static files are not served and the admin "
            "has no CSS: set it (docs/howto/deploy-with-daphne.md, Static files)."
        )
    elif report.static_root and (unserved := sorted(targets & {"kubernetes", "haproxy", "traefik", "aws-ecs"})):
        yield (
            f"Nothing serves static files behind {' and '.join(unserved)}, so the admin has no CSS: add "
            "WhiteNoise to MIDDLEWARE (docs/howto/deploy-with-daphne.md, Static files)."
        )


_CHECKS: Final = (_debug, _hosts, _https, _path, _secret_key, _sessions, _databases, _static_files)
