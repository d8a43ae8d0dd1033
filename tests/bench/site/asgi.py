"""Two ASGI applications: Django alone, with the package as a view, and the package mounted in front of it."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application
from django.core.management import call_command

from mcp_transport.asgi import mount

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.site.settings")

django = get_asgi_application()
if "BENCH_DATABASE" in os.environ:
    call_command("migrate", verbosity=0)
mounted = mount(django, path="/mcp")
