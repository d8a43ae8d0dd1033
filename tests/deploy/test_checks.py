"""Warnings of `mcp_deploy` about settings that do not suit a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcp_transport.deployment import TARGETS, Deployment, preflight
from mcp_transport.deployment.checks import deployment_warnings, project_warnings
from mcp_transport.domain.policy import Policy

EVERY = {*TARGETS}
FUNCTION = {"aws-lambda"}
RUN = {"docker", "compose", "kubernetes", "systemd", "aws-ecs", *FUNCTION}
CONTAINERS = RUN - {"systemd"}
PROXIES = {"nginx", "haproxy", "caddy", "traefik"}
LOCMEM = {"backend": "memory", "cache": "LocMemCache"}
FILES = {"backend": "cache", "cache": "FileBasedCache"}
TABLE = {"backend": "cache", "cache": "DatabaseCache"}
SITE = {"has_static_files": True}


@pytest.mark.parametrize(
    ("report", "options", "expected"),
    [
        ({}, {}, {}),
        ({"backend": "redis", "cache": "RedisCache"}, {}, {}),
        ({"settings_error": "KeyError: 'KEY'", "is_debug": True}, {}, {"--secrets": RUN}),
        ({"is_debug": True}, {}, {"DEBUG": RUN}),
        ({"has_host": False}, {}, {"ALLOWED_HOSTS": RUN | PROXIES}),
        ({"trusts_https_header": False}, {}, {"SECURE_PROXY_SSL_HEADER": RUN - FUNCTION | PROXIES}),
        ({"trusts_https_header": False}, {"tls": False}, {}),
        ({"has_example_key": True}, {}, {"SECRET_KEY": RUN}),
        (LOCMEM, {}, {"memory of one process": (RUN | PROXIES) - {"docker"}}),
        (LOCMEM, {"min_replicas": 1}, {}),
        ({"paths": ["/mcp"]}, {}, {}),
        ({"paths": ["/api/mcp"]}, {}, {"--path /api/mcp": {*PROXIES, *FUNCTION, "compose", "kubernetes"}}),
        ({"paths": ["/api/mcp"]}, {"path": "/api/mcp"}, {}),
        (LOCMEM, {"affinity": "session"}, {"memory of one process": (RUN | PROXIES) - {"docker"}}),
        (FILES, {}, {"files of one machine": CONTAINERS - {"docker"} | PROXIES, "not shared": {"systemd"}}),
        (TABLE, {}, {"not shared": (RUN | PROXIES) - {"docker"}}),
        (TABLE, {"affinity": "session"}, {}),
        (
            {"sqlite": {"default": "/srv/db.sqlite3"}},
            {},
            {"neither share": CONTAINERS, "/var/lib": {"systemd"}},
        ),
        ({"sqlite": {"default": "/var/lib/mcp/db.sqlite3"}}, {}, {"neither share": CONTAINERS}),
        (SITE, {}, {"STATIC_ROOT": RUN - FUNCTION | PROXIES}),
        ({**SITE, "static_root": "static"}, {}, {"WhiteNoise": {"kubernetes", "haproxy", "traefik", "aws-ecs"}}),
        ({**SITE, "serves_static_files": True}, {}, {}),
    ],
)
def test_each_target_is_warned_of_what_matters_to_it(
    report: dict[str, Any], options: dict[str, Any], expected: dict[str, set[str]]
) -> None:
    deployment = Deployment(policy=Policy(), **options)
    for target in EVERY:
        sentences = project_warnings(deployment, preflight.ProjectReport(**report), {target})
        assert [topic for topic, targets in expected.items() if target in targets] == [
            topic for topic in expected for sentence in sentences if topic in sentence
        ], target
        assert len(sentences) == sum(target in targets for targets in expected.values())


@pytest.mark.parametrize(
    ("options", "topics"),
    [
        ({}, ["mcp:latest"]),
        ({"image": "registry.example.com:5000/shop"}, ["registry.example.com:5000/shop"]),
        ({"image": "shop:1.0"}, []),
        ({"image": f"shop@sha256:{'0' * 64}"}, []),
        ({"image": "shop:1.0", "ingress_class": "kong"}, ["kong"]),
        ({"image": "shop:1.0", "ingress_class": "alb-public"}, []),
        ({"image": "shop:1.0", "ingress_class": "kong", "routes": "gateway"}, []),
    ],
)
def test_what_kubernetes_should_not_get_is_warned_of(
    options: dict[str, Any], topics: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    deployment = Deployment(policy=Policy(), **options)
    sentences = [*deployment_warnings(deployment, tmp_path / "deploy", {"kubernetes"})]
    assert len(sentences) == len(topics)
    assert all(topic in sentence for topic, sentence in zip(topics, sentences, strict=True))
    assert [*deployment_warnings(deployment, tmp_path / "deploy", {"nginx"})] == []
