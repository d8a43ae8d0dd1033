"""The steered site of the cluster's tests, with a few tools more."""

from __future__ import annotations

from tests.support.cluster.site.settings import *  # noqa: F403
from tests.support.cluster.site.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.deploy.showcase"]
ASGI_APPLICATION = "tests.deploy.showcase.asgi.application"
