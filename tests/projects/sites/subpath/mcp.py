"""Declares what all projects serve."""

from tests.projects.tools import declare

declare()
