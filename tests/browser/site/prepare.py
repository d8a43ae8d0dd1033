"""Make the tables and the users: `python -m tests.browser.site.prepare`."""

from __future__ import annotations

import django
from django.core.management import call_command

STAFF, VIEWER, PASSWORD = "grace", "heidi", "a password of these tests"


def prepare() -> None:
    """Make the tables, who may do all, and who may look at sessions."""
    django.setup()
    from django.contrib.auth.models import Permission, User

    call_command("migrate", verbosity=0)
    User.objects.create_superuser(STAFF, password=PASSWORD)
    viewer = User.objects.create_user(VIEWER, password=PASSWORD, is_staff=True)
    permissions = Permission.objects.filter(content_type__app_label="mcp_transport", codename="view_session")
    viewer.user_permissions.set(permissions)


if __name__ == "__main__":
    prepare()
