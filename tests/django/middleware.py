"""Middleware as projects have it: each kind of class, and each way of saying who the user is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, login
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject

Change = Callable[[Any], None]


def find(name: str) -> Any:
    """Return a user; it queries the database."""
    return get_user_model().objects.get(username=name)


def sets(request: Any) -> None:
    request.user = find("bob")


def sets_a_lazy_object(request: Any) -> None:
    request.user = SimpleLazyObject(lambda: find("bob"))


def sets_the_cached_user(request: Any) -> None:
    request._cached_user = find("bob")


def sets_both(request: Any) -> None:
    request.user = request._cached_user = find("bob")


def logs_in(request: Any) -> None:
    login(request, find("bob"), backend="django.contrib.auth.backends.ModelBackend")


def takes_away(request: Any) -> None:
    request.user = AnonymousUser()


def takes_away_lazily(request: Any) -> None:
    request.user = SimpleLazyObject(AnonymousUser)


def takes_away_altogether(request: Any) -> None:
    request.user = None


def deletes(request: Any) -> None:
    del request.user


def empties_the_session(request: Any) -> None:
    request.session.flush()


def caches_another(request: Any) -> None:
    request._acached_user = find("bob")


def turns_into_another_class(request: Any) -> None:
    own = type(request)
    request.__class__ = type("Impersonating", (own,), {"user": property(lambda self: find("bob"))})


def writes_the_session(request: Any) -> None:
    """Name a user in a session that has not been saved, and so has no key."""
    bob = find("bob")
    request.session[SESSION_KEY] = str(bob.pk)
    request.session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    request.session[HASH_SESSION_KEY] = bob.get_session_auth_hash()


def looks(request: Any) -> None:
    assert request.user.is_authenticated


CHANGES: dict[Change, str] = {
    sets: "bob",
    sets_a_lazy_object: "bob",
    sets_the_cached_user: "bob",
    sets_both: "bob",
    logs_in: "bob",
    takes_away: "-",
    takes_away_lazily: "-",
    takes_away_altogether: "-",
    deletes: "-",
    empties_the_session: "-",
    caches_another: "ann",  # which nothing but `auser` reads
    turns_into_another_class: "bob",
    looks: "ann",
}
"""What a middleware does to a request of ann, and whom the request names then."""

change: Change = looks
"""What the middleware below does."""


class Plain:
    """A synchronous class, as in Django's documentation."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        change(request)
        return self.get_response(request)


class Mixin(MiddlewareMixin):
    """A class of the kind of Django's own."""

    def process_request(self, request: HttpRequest) -> None:
        change(request)


class Viewing(MiddlewareMixin):
    """One that acts when the view is known."""

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        change(request)


class Asynchronous:
    """An asynchronous class that does synchronous work."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> Any:
        await sync_to_async(change)(request)
        return await self.get_response(request)


class WrongAUser(Asynchronous):
    """One that replaces `auser` alone, which nothing but asynchronous views read."""

    async def __call__(self, request: HttpRequest) -> Any:
        async def auser() -> Any:
            return AnonymousUser()

        request.auser = auser
        return await self.get_response(request)


KINDS = (Plain, Mixin, Viewing, Asynchronous)
