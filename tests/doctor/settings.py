"""The settings of the cluster's site, with the doctor's tool."""

from __future__ import annotations

from tests.support.cluster.site.settings import *  # noqa: F403
from tests.support.cluster.site.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "mcp_transport.contrib.doctor"]
