"""Settings of the site with the theme django-unfold, whose scripts need a policy that allows more."""

from __future__ import annotations

from tests.browser.site.settings import *  # noqa: F403 (settings are names in a module)
from tests.browser.site.settings import INSTALLED_APPS as _APPS
from tests.browser.site.settings import MIDDLEWARE as _MIDDLEWARE

INSTALLED_APPS = ["unfold", *_APPS, "mcp_transport.contrib.audit", "mcp_transport.contrib.tokens"]
MIDDLEWARE = [name for name in _MIDDLEWARE if "security_policy" not in name]
