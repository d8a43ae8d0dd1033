"""The served project: in this process, and behind each server."""

from __future__ import annotations

from tests.support.served import (
    connect,
    cookie,
    database,
    in_process,
    project,
    project_without_database,
    servers,
    site_declarations,
)

__all__ = [
    "connect",
    "cookie",
    "database",
    "in_process",
    "project",
    "project_without_database",
    "servers",
    "site_declarations",
]
