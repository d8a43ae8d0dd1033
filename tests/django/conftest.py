"""The project's own endpoint, built from settings and declarations, and a database in a file."""

from __future__ import annotations

from tests.django.databases import file_database, used
from tests.support.project import declarations, fresh_endpoint, serve

__all__ = ["declarations", "file_database", "fresh_endpoint", "serve", "used"]
