"""The pages of all projects: one without and one with the ORM, and one that tells how the process is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from tests.projects.constants import SEED
from tests.projects.sites.tools import Running


def for_everybody(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let in who is not logged in, past `LoginRequiredMiddleware`."""
    view.login_required = False  # type: ignore[attr-defined]
    return view


def without_transactions(view: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a view from connecting to databases, as ATOMIC_REQUESTS has it do."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


@for_everybody
@without_transactions
def plain(request: HttpRequest) -> HttpResponse:
    """Answer without the ORM."""
    return HttpResponse("plain")


@for_everybody
def groups(request: HttpRequest) -> HttpResponse:
    """Answer with the ORM."""
    from django.contrib.auth.models import Group  # a project without a database does not install it

    return HttpResponse(str(Group.objects.filter(name=SEED).count()))


@for_everybody
@without_transactions
async def vitals(request: HttpRequest) -> HttpResponse:
    """Tell what is at work in this process, and how many calls whose names begin with `begun` ever began."""
    prefix = request.GET.get("begun", "")
    return JsonResponse(
        {
            "tasks": len(asyncio.all_tasks()),
            "calls": Running.count,
            "begun": sum(name.startswith(prefix) for name in Running.begun),
            "borrowed": sum(_borrowed(alias) for alias in connections),
        }
    )


def _borrowed(alias: str) -> int:
    """Count the connections that were taken out of a pool and not given back."""
    pools = getattr(type(connections[alias]), "_connection_pools", {})
    if alias not in pools:
        return 0
    stats = pools[alias].get_stats()
    return int(stats["pool_size"] - stats["pool_available"])


urlpatterns = [path("plain", plain), path("groups", groups), path("vitals", vitals)]
