"""A project that OpenTelemetry traces by a middleware of its own, which is not asynchronous."""

from __future__ import annotations

from tests.projects.sites.settings.base import *  # noqa: F403 (settings are names in a module)
from tests.projects.sites.settings.base import postgres

DATABASES = {"default": postgres()}
IS_TRACED = True
