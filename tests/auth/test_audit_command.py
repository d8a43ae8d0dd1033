"""`manage.py mcp_audit`, as cron calls it."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from mcp_transport.contrib.audit import models
from mcp_transport.contrib.audit.models import AuditEntry

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


def run(*args: str) -> str:
    """Return what the command prints; CommandError is what ends it with status 1."""
    out = StringIO()
    call_command("mcp_audit", *args, stdout=out)
    return out.getvalue()


@pytest.fixture
def ages() -> list[float]:
    """Entries of so many days ago, in no order."""
    ages = [0.5, 100, 6.9, 7.1, 30, 8]
    now = timezone.now()
    for days in ages:
        AuditEntry.objects.create(when=now - timedelta(days=days), event="tool_called", name=str(days))
    return ages


def left() -> list[str]:
    return list(AuditEntry.objects.values_list("name", flat=True))


def test_prune_deletes_what_is_older_and_says_how_many(ages: list[float]) -> None:
    assert run("prune", "--older-than-days", "7") == "deleted 4 entries\n"
    assert left() == ["0.5", "6.9"]
    assert run("prune", "--older-than-days", "7") == "deleted 0 entries\n"


def test_one_is_told_as_one(ages: list[float]) -> None:
    assert run("prune", "--older-than-days", "99") == "deleted 1 entry\n"


def test_prune_deletes_in_batches_oldest_first(
    ages: list[float], monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(models, "_DELETE_BATCH", 3)
    with django_assert_num_queries(5) as captured:
        assert run("prune", "--older-than-days", "7") == "deleted 4 entries\n"
    kinds = [query["sql"].split()[0] for query in captured.captured_queries]
    assert kinds == ["SELECT", "DELETE", "SELECT", "DELETE", "SELECT"]
    assert left() == ["0.5", "6.9"]


def test_an_empty_record_is_pruned_in_vain() -> None:
    assert run("prune", "--older-than-days", "1") == "deleted 0 entries\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "verb"),
        (["dance"], "invalid choice"),
        (["prune"], "--older-than-days"),
        (["prune", "--older-than-days", "0"], "expected a whole number from 1 to 36500, got '0'"),
        (["prune", "--older-than-days", "-1"], "expected a whole number from 1 to 36500, got '-1'"),
        (["prune", "--older-than-days", "soon"], "expected a whole number from 1 to 36500, got 'soon'"),
        (["prune", "--older-than-days", "9999999"], "expected a whole number from 1 to 36500"),
        (["prune", "--older-than-days", "9999999999"], "expected a whole number from 1 to 36500"),
    ],
)
def test_what_makes_no_sense_deletes_nothing(args: list[str], message: str, ages: list[float]) -> None:
    with pytest.raises(CommandError, match=message):
        run(*args)
    assert AuditEntry.objects.count() == len(ages)
