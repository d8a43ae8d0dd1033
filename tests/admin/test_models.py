"""The model that has no table: its permissions exist, and nothing asks the database for sessions."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection

from mcp_transport.models import Session

ROOT = Path(__file__).parents[2]


@pytest.mark.django_db
def test_permissions_exist() -> None:
    kind = ContentType.objects.get(app_label="mcp_transport", model="session")
    named = set(Permission.objects.filter(content_type=kind).values_list("codename", flat=True))
    assert named == {"view_session", "change_session", "delete_session", "view_mcp_payloads", "drain_mcp_nodes"}


@pytest.mark.django_db
def test_migration_is_complete_and_makes_no_table() -> None:
    call_command("makemigrations", "mcp_transport", check=True, dry_run=True, stdout=StringIO())
    assert "mcp_transport_session" not in connection.introspection.table_names()


@pytest.mark.django_db
@pytest.mark.parametrize("everything", [False, True])
def test_dump_of_the_database_leaves_sessions_out(everything: bool) -> None:
    out = StringIO()
    call_command("dumpdata", "mcp_transport", use_base_manager=everything, stdout=out)
    assert out.getvalue().strip() == "[]"
    assert list(Session.objects.all()) == []


def test_session_is_called_by_its_short_id() -> None:
    assert str(Session(key="ABCDEFGHIJKLMNOPQRSTUVWXYZ")) == "abcdefghij"


@pytest.mark.slow
@pytest.mark.parametrize(
    "apps",
    [["mcp_transport"], ["django.contrib.contenttypes", "django.contrib.auth", "mcp_transport"]],
    ids=len,
)
def test_neither_users_nor_the_admin_are_needed(apps: list[str]) -> None:
    database = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    program = f"""
import sys, django
from django.conf import settings
from django.core.management import call_command
settings.configure(
    INSTALLED_APPS={apps}, DATABASES={database}, SECRET_KEY="of-this-test", ROOT_URLCONF="mcp_transport.health"
)
django.setup()
call_command("check", "mcp_transport", fail_level="ERROR")
call_command("migrate", verbosity=0)
call_command("makemigrations", "mcp_transport", check=True, dry_run=True)
assert "django.contrib.admin" not in sys.modules
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)  # noqa: S603
    assert done.returncode == 0, done.stderr
