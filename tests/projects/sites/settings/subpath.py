"""A project at a sub-path of a site, behind nginx."""

from __future__ import annotations

from tests.projects.sites.settings.base import *  # noqa: F403 (settings are names in a module)
from tests.projects.sites.settings.base import postgres

DATABASES = {"default": postgres()}
FORCE_SCRIPT_NAME = "/shop"
