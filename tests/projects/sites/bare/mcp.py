"""Declares what needs no database."""

from tests.projects.tools import declare

declare(database=False)
