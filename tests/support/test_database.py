"""Nothing that a test has written is in the next one's database, and all that the migrations have made is."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import TransactionTestCase


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("spoilt", [None, "more", "less", "other"])
def test_a_flush_leaves_what_there_was_before(spoilt: str | None) -> None:
    def content() -> list[list[tuple[str, str]]]:
        kinds = ContentType.objects.values_list("app_label", "model")
        return [sorted(kinds), sorted(Permission.objects.values_list("codename", "name"))]

    before, first = content(), Permission.objects.all()[0]
    user = User.objects.create(username="ann")
    user.user_permissions.add(first)
    user.groups.add(Group.objects.create(name="staff"))
    match spoilt:
        case "more":
            Permission.objects.create(codename="more", name="More", content_type=first.content_type)
        case "less":
            ContentType.objects.all().delete()
        case "other":
            Permission.objects.filter(pk=first.pk).update(name="Other")
    TransactionTestCase("__init__")._fixture_teardown()  # type: ignore[attr-defined]
    assert content() == before
    assert not User.objects.exists()
    assert not Group.objects.exists()
    assert not User.user_permissions.through.objects.exists()
