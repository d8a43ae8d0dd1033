"""Who may see what in the admin, and do what: each permission opens its own pages, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import User
from django.test import Client

from tests.support.visits import LIST, Visitor, page, status_of_ping

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_cache")]

Open = Callable[..., Visitor]
LogIn = Callable[..., Client]


@pytest.fixture
def visitor(open_session: Open) -> Visitor:
    return open_session("desk", "ann")


def ask(client: Client, entry: str, visitor: Visitor) -> Any:
    pages = {
        "list": LIST,
        "export": f"{LIST}export/?format=json",
        "dashboard": f"{LIST}dashboard/",
        "dashboard/live": f"{LIST}dashboard/live/",
        "ask to drain": f"{LIST}dashboard/drain/?node=nothing",
        "live": visitor.url("live"),
        "detail": visitor.url("change"),
        "history": visitor.url("history"),
        "ask to end": visitor.url("delete"),
    }
    if entry in pages:
        return client.get(pages[entry])
    selected = {"_selected_action": visitor.key}
    match entry:
        case "end":
            return client.post(visitor.url("delete"), {"post": "yes"})
        case "ask to end selected":
            return client.post(f"{LIST}end/", selected)
        case "end selected":
            return client.post(f"{LIST}end/", {**selected, "post": "yes"})
        case "drain":
            return client.post(f"{LIST}dashboard/drain/", {"node": "nothing"})
        case "ask to end all":
            return client.post(f"{LIST}end/", {"select_across": "1"})
        case "reset":
            return client.post(f"{LIST}dashboard/reset/", {"tool": "nothing"})
    assert entry == "cancel"
    return client.post(visitor.url("cancel"), {"request": "1"})


SUMMED = {"dashboard": 200, "dashboard/live": 200}
SEEING = {"list": 200, "export": 200, "detail": 200, "history": 200, "live": 200, **SUMMED}
ENDING = {"ask to end": 200, "end": 302, "ask to end selected": 200, "end selected": 302, "reset": 302}
ENDING_ALL = {"ask to end all": 200}
DRAINING = {"ask to drain": 302, "drain": 302}
CANCELLING = {"cancel": 302}
ENTRIES = {**SEEING, **ENDING, **ENDING_ALL, **CANCELLING, **DRAINING}
every_entry = pytest.mark.parametrize("entry", ENTRIES)


@every_entry
@pytest.mark.parametrize("somebody", [False, True])
def test_who_is_not_staff_is_sent_to_the_login(entry: str, somebody: bool, client: Client, visitor: Visitor) -> None:
    if somebody:
        client.force_login(User.objects.create_user("ann"))
    response = ask(client, entry, visitor)
    assert response.status_code == 302
    assert response["Location"].startswith("/admin/login/?next=")
    assert status_of_ping(visitor) == 200


@every_entry
@pytest.mark.parametrize(
    ("permissions", "may"),
    [
        ([], {}),
        (["view"], SEEING),
        (["delete"], ENDING),
        (["change"], {**SEEING, **CANCELLING}),  # in Django, who may change may view
        (["view", "delete"], {**SEEING, **ENDING, **ENDING_ALL}),
        (["drain_mcp_nodes"], DRAINING),
        (["view", "change", "delete", "drain_mcp_nodes"], ENTRIES),
    ],
    ids=str,
)
def test_staff_may_do_what_their_permissions_say(
    entry: str, permissions: list[str], may: dict[str, int], log_in: LogIn, visitor: Visitor
) -> None:
    response = ask(log_in(*permissions), entry, visitor)
    assert response.status_code == may.get(entry, 403)
    told = "desk 1" if entry in (*SUMMED, "live") else visitor.short_id
    content = b"".join(response) if response.streaming else response.content
    assert (told in content.decode()) == (may.get(entry) == 200 and "drain" not in entry)
    ended = entry in ("end", "end selected") and entry in may
    assert status_of_ping(visitor) == (404 if ended else 200)
    assert LogEntry.objects.count() == (ended or (entry == "reset" and entry in may))


@every_entry
def test_superusers_may_do_everything(entry: str, admin_client: Client, visitor: Visitor) -> None:
    assert ask(admin_client, entry, visitor).status_code == ENTRIES[entry]


@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_adds_sessions(method: str, admin_client: Client) -> None:
    assert getattr(admin_client, method)(f"{LIST}add/").status_code == 403
    assert f"{LIST}add/" not in page(admin_client.get("/admin/"))


def test_another_sites_form_ends_nothing(admin_user: User, visitor: Visitor) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    for entry in ("end", "end selected", "ask to end selected", "cancel", "reset", "drain"):
        assert ask(client, entry, visitor).status_code == 403
    assert status_of_ping(visitor) == 200


@pytest.mark.parametrize("entry", ["end", "cancel"])
def test_to_follow_a_link_does_nothing(entry: str, admin_client: Client, visitor: Visitor) -> None:
    place = visitor.url("cancel") if entry == "cancel" else f"{LIST}end/?post=yes&_selected_action={visitor.key}"
    assert admin_client.get(place).status_code == (405 if entry == "cancel" else 302)
    assert status_of_ping(visitor) == 200


@pytest.mark.parametrize(("permissions", "ends", "cancels"), [(["view"], 0, 0), (["view", "delete"], 1, 0)], ids=str)
def test_no_button_is_shown_that_would_be_refused(
    permissions: list[str], ends: int, cancels: int, log_in: LogIn, visitor: Visitor
) -> None:
    client = log_in(*permissions)
    assert page(client.get(LIST)).count("End selected sessions") == ends
    assert page(client.get(LIST)).count('type="checkbox"') == 2 * ends
    assert page(client.get(visitor.url())).count("End this session") == ends


@pytest.mark.parametrize(("permissions", "shown"), [([], 0), (["view"], 1), (["change"], 1)], ids=str)
def test_index_shows_sessions_to_whom_they_concern(permissions: list[str], shown: int, log_in: LogIn) -> None:
    client = log_in(*permissions)
    assert (f'href="{LIST}"' in page(client.get("/admin/"))) == bool(shown)
    assert client.get("/admin/mcp_transport/").status_code == (200 if shown else 404)


def test_who_may_only_end_is_sent_to_the_index(log_in: LogIn, visitor: Visitor) -> None:
    client = log_in("delete")
    assert LIST + '"' not in page(client.get(visitor.url("delete")))
    assert client.post(visitor.url("delete"), {"post": "yes"})["Location"] == "/admin/"


def test_log_says_who_ended_what_by_its_short_id(admin_client: Client, admin_user: User, visitor: Visitor) -> None:
    ask(admin_client, "end selected", visitor)
    [entry] = LogEntry.objects.all()
    assert (entry.user, entry.action_flag, entry.object_repr) == (admin_user, DELETION, visitor.short_id)
    assert (entry.object_id, entry.change_message) == (visitor.key, "")
    assert visitor.session_id not in str(vars(entry))
    assert visitor.short_id in page(admin_client.get("/admin/"))
