"""Sessions in the Django admin: from the session backend, without a database query for any of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec
from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from mcp_transport import bootstrap, operations
from mcp_transport.backends.base import NodeRecord, Page
from mcp_transport.exceptions import BackendError
from mcp_transport.models import Session
from mcp_transport.operations import SessionDetail
from mcp_transport.protocol import session as records
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id
from mcp_transport.protocol.search import SessionQuery, client_of

__all__ = ["SessionAdmin"]

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Session]
else:
    _Admin = admin.ModelAdmin  # which cannot be subscripted at run time

_PAGE: Final = 100
_SELECTED: Final = "_selected_action"
_KEY: Final = re.compile(r"[A-Z2-7]{26}")
_FILTERS: Final = {"user": _("user"), "client": _("client"), "protocol_version": _("protocol"), "node": _("node")}

_P = ParamSpec("_P")
_View = Callable[Concatenate["SessionAdmin", HttpRequest, _P], HttpResponse]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a change list is asked for, as its address says it."""

    query: SessionQuery
    offset: int = 0

    @classmethod
    def of(cls, request: HttpRequest) -> _Asked:
        text = {name: request.GET.get(name, "").replace("\0", "") for name in ("q", *_FILTERS)}
        given = request.GET.get("offset", "")
        offset = int(given) if re.fullmatch(r"[0-9]{1,9}", given) else 0
        return cls(SessionQuery(text=text.pop("q"), **text), offset)

    @property
    def link(self) -> str:
        """Return the part of an address that asks for this."""
        told = {"q": self.query.text, **self.query.values, "offset": str(self.offset or "")}
        return "?" + urlencode({name: value for name, value in told.items() if value})

    def at(self, offset: int) -> _Asked:
        """Return another page of the same."""
        return _Asked(self.query, max(0, offset))


def _readable(view: _View[_P]) -> _View[_P]:
    """Answer with a page while the store does not."""

    @wraps(view)
    def guarded(self: SessionAdmin, request: HttpRequest, /, *args: _P.args, **kwargs: _P.kwargs) -> HttpResponse:
        try:
            return view(self, request, *args, **kwargs)
        except BackendError as error:
            title = _("The session store does not answer")
            return self.page(request, "unavailable", 503, title=title, error=str(error))

    return guarded


@admin.register(Session)
class SessionAdmin(_Admin):
    """Shows the sessions of the backend, ends them and cancels their calls.

    Who may view sees lists and sessions, who may delete ends sessions, and who may change cancels calls.
    """

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Session | None:
        """Return what stands for a session, over or not: its history is in the database."""
        return Session(key=object_id) if _KEY.fullmatch(object_id) else None

    def get_urls(self) -> list[URLPattern]:
        """Return the usual addresses, and two of our own."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view
        return [
            path("end/", view(self.end_view), name=f"{name}_end"),
            path("<str:key>/cancel/", view(self.cancel_view), name=f"{name}_cancel"),
            *super().get_urls(),
        ]

    def page(self, request: HttpRequest, template: str, status: int = 200, **context: Any) -> HttpResponse:
        """Return one of the pages."""
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "subtitle": None,
            "backend": bootstrap.endpoint().backend,
            "may_view": self.has_view_or_change_permission(request),
            "may_cancel": self.has_change_permission(request),
            "may_end": self.has_delete_permission(request),
        }
        request.current_app = self.admin_site.name
        name = f"admin/mcp_transport/session/{template}.html"
        return TemplateResponse(request, name, {**shared, **context}, status=status)

    # -- seeing --------------------------------------------------------------------------------------

    @_readable
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show a page of the sessions that are asked for."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        title = self.opts.verbose_name_plural
        if not operations.can_list():
            return self.page(request, "change_list", title=title, can_list=False)
        asked = _Asked.of(request)
        page, nodes = async_to_sync(_found)(asked)
        shown = asked.offset + len(page.sessions)
        more = shown < page.total if page.is_exact else len(page.sessions) == _PAGE
        return self.page(
            request,
            "change_list",
            title=title,
            can_list=True,
            asked=asked,
            rows=[_row(session) for session in page.sessions],
            total=page.total,
            is_exact=page.is_exact,
            first=asked.offset + 1,
            last=shown,
            previous=asked.at(asked.offset - _PAGE).link if asked.offset else "",
            next=asked.at(asked.offset + _PAGE).link if more else "",
            filters=_filters(asked, page, nodes),
        )

    @_readable
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what is known of a session."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        detail = next(iter(async_to_sync(_looked_into)([object_id])), None)
        if detail is None:
            return self._back(request, over=object_id)
        return self.page(
            request,
            "change_form",
            title=_("MCP session %(id)s") % {"id": records.short_id(object_id)},
            row=_row(detail.session),
            ends=_moment(detail.session.ends),
            capabilities=_pretty(detail.session.capabilities),
            state=detail.state,
            flights=[_flight(flight) for flight in detail.flights],
            streams=detail.streams,
        )

    # -- ending --------------------------------------------------------------------------------------

    @_readable
    def end_view(self, request: HttpRequest) -> HttpResponse:
        """Ask whether the selected sessions are to be ended, and end them."""
        return self._end(request, request.POST.getlist(_SELECTED))

    @_readable
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask whether a session is to be ended, and end it."""
        return self._end(request, [object_id])

    def _end(self, request: HttpRequest, keys: list[str]) -> HttpResponse:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        keys = [key for key in dict.fromkeys(keys) if _KEY.fullmatch(key)]
        if request.method == "POST" and request.POST.get("post"):
            return self._ended(request, keys)
        found = async_to_sync(_looked_into)(keys)
        if not found:
            messages.warning(request, _("No session was selected that could be ended."))
            return self._back(request)
        rows = [{**_row(detail.session), "calls": len(detail.flights)} for detail in found]
        return self.page(request, "end_confirmation", title=_("End sessions?"), rows=rows, selected=_SELECTED)

    def _ended(self, request: HttpRequest, keys: list[str]) -> HttpResponse:
        ended, error = async_to_sync(_end_all)(keys)
        entries: Any = [Session(key=key) for key in ended]
        if entries:
            self.log_deletions(request, entries)
            done = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", len(ended))
            messages.success(request, done % {"count": len(ended)})
        if error is not None:
            raise error
        if len(ended) < len(keys):
            over = ngettext("%(count)d was over already.", "%(count)d were over already.", len(keys) - len(ended))
            messages.warning(request, over % {"count": len(keys) - len(ended)})
        return self._back(request)

    # -- cancelling ----------------------------------------------------------------------------------

    @_readable
    def cancel_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Cancel a call of a session."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        request_id = _request_id(request.POST.get("request", ""))
        if not _KEY.fullmatch(key):
            return self._back(request, over=key)
        if request_id is not None and async_to_sync(operations.cancel_call)(key, request_id):
            self.log_change(request, Session(key=key), str(_("Cancelled a call.")))
            messages.success(request, _("The call is being cancelled."))
        else:
            messages.warning(request, _("That call does not run any more."))
        return HttpResponseRedirect(self._address("change", key))

    # -- going on ------------------------------------------------------------------------------------

    def _address(self, page: str, *args: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def _back(self, request: HttpRequest, over: str = "") -> HttpResponse:
        """Send to the list as it was, or, who may not see it, to the index; say that a session is `over`."""
        if over:
            name = records.short_id(over) if _KEY.fullmatch(over) else over[:10]
            messages.warning(request, _("The session “%(id)s” does not exist: it may be over.") % {"id": name})
        if self.has_view_or_change_permission(request):
            asked = _Asked.of(request).link.removesuffix("?")
            return HttpResponseRedirect(self._address("changelist") + asked)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))


# -- asking the backend: one after the other, since each operation closes what it opened -----------------


async def _found(asked: _Asked) -> tuple[Page, tuple[NodeRecord, ...]]:
    return await operations.sessions(asked.offset, _PAGE, asked.query), await operations.nodes()


async def _looked_into(keys: Iterable[str]) -> list[SessionDetail]:
    """Return what is known of those sessions that are not over."""
    found = [await operations.look_into(key) for key in keys if _KEY.fullmatch(key)]
    return [detail for detail in found if detail is not None]


async def _end_all(keys: Iterable[str]) -> tuple[list[str], BackendError | None]:
    """End sessions; return those that were, also when the store stops to answer."""
    ended: list[str] = []
    try:
        for key in keys:
            if await operations.end_session(key):
                ended.append(key)
    except BackendError as error:
        return ended, error
    return ended, None


# -- what templates show ---------------------------------------------------------------------------------


def _row(session: records.Session) -> dict[str, Any]:
    return {
        "id": records.short_id(session.key),
        "key": session.key,
        "client": client_of(session),
        "session": session,
        "created": _moment(session.created),
        "last_seen": _moment(session.last_seen),
    }


def _flight(flight: records.Flight) -> dict[str, Any]:
    age = timedelta(seconds=max(0, int(time.time() - flight.started)))
    # Not the flight itself, which has the request's body: at DEBUG, Django logs contexts.
    return {"id": json.dumps(flight.request_id), "age": str(age), "node": flight.node, "stream": flight.stream}


def _request_id(text: str) -> RequestId | None:
    """Return the id that `_flight` wrote."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if is_request_id(value) else None


def _moment(seconds: float) -> datetime | None:
    """Return a time as templates write it; None where there is none."""
    if not seconds:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment if settings.USE_TZ else timezone.make_naive(moment)


def _pretty(value: Any) -> str:
    try:
        return json.dumps(value, indent=2)
    except RecursionError:  # as deep as a client likes
        return str(_("nested too deeply to be shown"))


def _filters(asked: _Asked, page: Page, nodes: Iterable[NodeRecord]) -> list[dict[str, Any]]:
    """Return, for each filter, the values on the page, the one that is chosen, and the nodes that live."""
    seen: dict[str, set[str]] = {
        "user": {session.user for session in page.sessions},
        "client": {client_of(session) for session in page.sessions},
        "protocol_version": {session.protocol_version for session in page.sessions},
        "node": {session.node for session in page.sessions} | {node.name for node in nodes},
    }
    chosen = asked.query.values
    return [
        {
            "name": name,
            "label": label,
            "chosen": chosen.get(name, ""),
            "values": sorted({*seen[name], chosen.get(name, "")} - {""}),
        }
        for name, label in _FILTERS.items()
    ]
