"""What keeps a project from working as it is deployed: a sentence each, which says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from pathlib import Path, PurePosixPath
from typing import Final

from mcp_transport.deployment import project
from mcp_transport.deployment.options import Deployment
from mcp_transport.deployment.preflight import ProjectReport

__all__ = ["LOADS_PROJECT", "NAMES_APPLICATION", "advice", "needs_preflight", "remarks"]

NAMES_APPLICATION: Final = frozenset({"docker", "systemd"})
"""The targets whose files start the application."""

LOADS_PROJECT: Final = frozenset({"docker", "compose", "kubernetes", "systemd"})
"""The targets whose files run the project."""

_CONTAINERS: Final = frozenset({"docker", "compose", "kubernetes"})
_PROXIES: Final = frozenset({"nginx", "haproxy"})
_HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (the units have a /tmp of their own)
_SEVERAL_NODES: Final = frozenset({"compose", "kubernetes", "systemd", *_PROXIES})


def needs_preflight(targets: Set[str]) -> bool:
    """Tell whether any of these targets depends on what the project is."""
    return bool(targets & (LOADS_PROJECT | _PROXIES))


def remarks(deployment: Deployment, output: Path, targets: Set[str]) -> Iterator[str]:
    """Yield what is to be done whatever the project is."""
    hidden = next((place for place in _HIDDEN if PurePosixPath(deployment.directory).is_relative_to(place)), None)
    if "systemd" in targets and hidden:
        yield (
            f"The units do not see {hidden} of the machine (ProtectHome, PrivateTmp), so {deployment.directory} is "
            f"not there: move the project, for instance to /srv/{deployment.name}, and name that with --directory."
        )
    if "docker" in targets and not (project.root() / "requirements.txt").is_file():
        yield (
            f"{project.root()} has no requirements.txt, which the Dockerfile installs: write what the project needs "
            "there, django-mcp-transport[redis] included."
        )
    if targets & {"docker", "compose"} and not project.is_inside(output):
        yield (
            f"{output.resolve()} is not in the project's folder: move the files to {project.root() / 'deploy'}, "
            "where they refer to each other."
        )


_Rule = Callable[[Deployment, ProjectReport, Set[str]], Iterator[str]]


def advice(deployment: Deployment, found: ProjectReport, targets: Set[str]) -> list[str]:
    """Return what is to be done before these targets work."""
    if found.settings_fault:
        if not targets & LOADS_PROJECT:
            return []
        return [
            f"{deployment.settings_module} cannot be loaded with the environment that the files set "
            f"({found.settings_fault}): name the variables that it needs with --secrets, or give them defaults."
        ]
    return [sentence for rule in _RULES for sentence in rule(deployment, found, targets)]


def _debug(deployment: Deployment, found: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if found.is_debug and targets & LOADS_PROJECT:
        yield (
            f"DEBUG is on in {deployment.settings_module}, whatever DJANGO_DEBUG says: set DEBUG = False for "
            "production, or name other settings with --settings."
        )


def _hosts(deployment: Deployment, found: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if not found.has_host and targets & (LOADS_PROJECT | _PROXIES):
        yield (
            f"ALLOWED_HOSTS of {deployment.settings_module} does not have {deployment.host}, so every request is "
            "refused with 400: add it, read DJANGO_ALLOWED_HOSTS there, or name another host with --host."
        )


def _https(deployment: Deployment, found: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if deployment.tls and not found.knows_https and targets & (LOADS_PROJECT | _PROXIES):
        yield (
            f"SECURE_PROXY_SSL_HEADER of {deployment.settings_module} does not name X-Forwarded-Proto, so Django "
            "takes HTTPS for HTTP and refuses the forms of the admin with 403: set it to "
            '("HTTP_X_FORWARDED_PROTO", "https") (docs/howto/deploy-with-daphne.md, Settings for production).'
        )


def _path(deployment: Deployment, found: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if found.paths and deployment.path not in found.paths and targets & (_PROXIES | {"compose", "kubernetes"}):
        yield (
            f"The endpoint is at {found.paths[0]}, and the files have {deployment.path}: name its path with --path "
            f"{found.paths[0]}."
        )


def _secret_key(deployment: Deployment, found: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if found.has_example_key and targets & LOADS_PROJECT:
        yield (
            f"SECRET_KEY of {deployment.settings_module} is the insecure one that startproject wrote: read it from "
            "the environment, and name the variable with --secrets."
        )


def _sessions(deployment: Deployment, found: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if not targets & _SEVERAL_NODES or deployment.nodes == 1:
        return
    redis = "point the cache that MCP_TRANSPORT['CACHE'] names at Redis (docs/howto/redis.md)"
    is_local = found.cache == "FileBasedCache" and bool(targets & _SEVERAL_NODES - {"systemd"})
    if found.backend == "memory" or (found.backend == "cache" and is_local):
        place = "the memory of one process" if found.backend == "memory" else "files of one machine"
        yield (
            f"Sessions are in {place}, so that clients get 404 from all of {deployment.nodes} nodes but one: {redis}."
        )
    elif found.backend == "cache" and deployment.affinity == "none":
        yield (
            f"Calls and streams are not shared by way of a {found.cache}, so that {deployment.nodes} nodes do not "
            f"find each other's: {redis}, or set --affinity."
        )


def _databases(deployment: Deployment, found: ProjectReport, targets: Set[str]) -> Iterator[str]:
    aliases = ", ".join(repr(alias) for alias in found.sqlite)
    writable = f"/var/lib/{deployment.name}/"
    if found.sqlite and targets & _CONTAINERS:
        yield (
            f"The database {aliases} is a file of SQLite, which containers neither share nor can write: use a "
            "database server, and name the variable with its address with --secrets."
        )
    elif "systemd" in targets and not all(path.startswith(writable) for path in found.sqlite.values()):
        yield (
            f"The database {aliases} is a file of SQLite where the units may not write: move it to {writable}, or "
            "use a database server."
        )


def _static_files(deployment: Deployment, found: ProjectReport, targets: Set[str]) -> Iterator[str]:
    if not found.has_static_files or found.serves_static_files:
        return
    if not found.static_root and targets & (LOADS_PROJECT | _PROXIES):
        yield (
            f"STATIC_ROOT is not set in {deployment.settings_module}, so that no static file is served and the admin "
            "has no style: set it (docs/howto/deploy-with-daphne.md, Static files)."
        )
    elif found.static_root and (without := sorted(targets & {"kubernetes", "haproxy"})):
        yield (
            f"Nothing serves static files behind {' and '.join(without)}, so that the admin has no style: add "
            "WhiteNoise to MIDDLEWARE (docs/howto/deploy-with-daphne.md, Static files)."
        )


_RULES: Final[tuple[_Rule, ...]] = (_debug, _hosts, _https, _path, _secret_key, _sessions, _databases, _static_files)
