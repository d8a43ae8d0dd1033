"""Fill a project's database; print who the callers are, as JSON.

python -m tests.projects.prepare [TENANT ...]
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from django.db import connections

from tests.projects.constants import SEED, USER


def main(tenants: list[str]) -> None:
    """Make the tables, and in each tenant, or else in the one database, the seed and a user."""
    django.setup()
    from django.core.management import call_command

    if tenants:
        call_command("migrate_schemas", schema_name="public", verbosity=0)
        callers = {tenant: _tenant(tenant) for tenant in tenants}
    else:
        for alias in connections:
            call_command("migrate", database=alias, verbosity=0)
        callers = {"": _caller()}
    sys.stdout.write(json.dumps(callers))


def _tenant(name: str) -> dict[str, str]:
    from django_tenants.utils import tenant_context  # type: ignore[import-untyped]

    from tests.projects.sites.tenants.models import Domain, Shop

    shop = Shop(schema_name=name, name=name)
    shop.save(verbosity=0)
    Domain.objects.create(domain=f"{name}.localhost", tenant=shop)
    with tenant_context(shop):
        return _caller()


def _caller() -> dict[str, str]:
    """Make the seed and a user; return the cookie and, where there are some, the token that prove who it is."""
    from django.apps import apps
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group, Permission

    from tests.support.site.prepare import log_in

    cookie = log_in(USER)
    user: Any = get_user_model().objects.get(username=USER)
    user.user_permissions.add(Permission.objects.get(codename="view_group"))
    for alias in connections:
        Group.objects.using(alias).create(name=SEED)
    if not apps.is_installed("mcp_transport.contrib.tokens"):
        return {"Cookie": f"sessionid={cookie}"}
    from mcp_transport.contrib.tokens.models import PersonalToken

    _, secret = PersonalToken.objects.issue(user, name="projects")
    return {"Cookie": f"sessionid={cookie}", "Authorization": f"Bearer {secret}"}


if __name__ == "__main__":
    main(sys.argv[1:])
