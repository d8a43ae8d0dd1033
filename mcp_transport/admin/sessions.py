"""The pages of sessions: the list, a session, its end, its calls cancelled, and the dashboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from mcp_transport import bootstrap
from mcp_transport.admin import live
from mcp_transport.admin.list_query import PAGE, ListQuery, columns, filters
from mcp_transport.admin.tables import MessageRow, pretty, request_id_of, session_row, session_tables
from mcp_transport.backends.base import NodeRecord, Page
from mcp_transport.domain.session import short_id
from mcp_transport.exceptions import BackendError
from mcp_transport.models import Session
from mcp_transport.operators import service
from mcp_transport.operators.service import SessionDetail

__all__ = ["SessionAdmin"]

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Session]
else:
    _Admin = admin.ModelAdmin  # which cannot be subscripted at run time

_SELECTED: Final = "_selected_action"
_KEY: Final = re.compile(r"[A-Z2-7]{26}")

_P = ParamSpec("_P")
_View = Callable[Concatenate["SessionAdmin", HttpRequest, _P], HttpResponse]


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
        """Return the usual addresses, and some of our own."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        ours: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
            "end": ("end/", self.end_view),
            "dashboard": ("dashboard/", self.dashboard_view),
            "dashboard_live": ("dashboard/live/", self.dashboard_live_view),
            "cancel": ("<str:key>/cancel/", self.cancel_view),
            "live": ("<str:key>/live/", self.live_view),
        }
        paths = [
            path(place, self.admin_site.admin_view(view), name=f"{name}_{page}")
            for page, (place, view) in ours.items()
        ]
        return [*paths, *super().get_urls()]

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
        self._check_may_view(request)
        title = self.opts.verbose_name_plural
        if not service.can_list():
            return self.page(request, "change_list", title=title, can_list=False)
        asked = ListQuery.of(request)
        page, nodes = async_to_sync(_found)(asked)
        shown = asked.offset + len(page.sessions)
        more = shown < page.total if page.is_exact else len(page.sessions) == PAGE
        return self.page(
            request,
            "change_list",
            title=title,
            can_list=True,
            asked=asked,
            columns=columns(asked),
            rows=[session_row(session) for session in page.sessions],
            total=page.total,
            is_exact=page.is_exact,
            first=asked.offset + 1,
            last=shown,
            previous=asked.at(asked.offset - PAGE).link if asked.offset else "",
            next=asked.at(asked.offset + PAGE).link if more else "",
            filters=filters(asked, page, nodes),
        )

    @_readable
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what is known of a session."""
        self._check_may_view(request)
        if not _KEY.fullmatch(object_id):
            return self._back(request, over=object_id)
        reading = live.MessageFollower.begin(request.user, object_id, request.GET)
        found = async_to_sync(reading.read)()
        if found is None:
            return self._back(request, over=object_id)
        detail, news = found
        return self.page(
            request,
            "change_form",
            title=_("MCP session %(id)s") % {"id": short_id(object_id)},
            key=object_id,
            tables={table.name: table for table in session_tables(detail)},
            capabilities=pretty(detail.session.capabilities),
            reading=reading,
            may_see_payloads=live.may_see_payloads(request.user),
            logs=_by_stream(detail, reading.lines(news)),
        )

    def live_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Tell a page that polls what is new in a session."""
        self._check_may_view(request)
        if not _KEY.fullmatch(key):
            return JsonResponse({"over": True})
        cursor = request.headers.get("X-Cursor", "")
        return _answer_with(live.session_news, live.MessageFollower.begin(request.user, key, request.GET, cursor))

    @_readable
    def dashboard_view(self, request: HttpRequest) -> HttpResponse:
        """Show all sessions, calls and nodes, summed up."""
        self._check_may_view(request)
        known = async_to_sync(live.dashboard)()
        return self.page(
            request,
            "dashboard",
            title=_("Dashboard of MCP sessions"),
            tables=known.tables(),
            can_list=known.overview is not None,
        )

    def dashboard_live_view(self, request: HttpRequest) -> HttpResponse:
        """Tell a page that polls what the dashboard shows by now."""
        self._check_may_view(request)
        return _answer_with(live.dashboard_news)

    def _check_may_view(self, request: HttpRequest) -> None:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied

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
        rows = [{**session_row(detail.session), "calls": len(detail.flights)} for detail in found]
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
        request_id = request_id_of(request.POST.get("request", ""))
        if not _KEY.fullmatch(key):
            return self._back(request, over=key)
        if request_id is not None and async_to_sync(service.cancel_call)(key, request_id):
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
            name = short_id(over) if _KEY.fullmatch(over) else over[:10]
            messages.warning(request, _("The session “%(id)s” does not exist: it may be over.") % {"id": name})
        if self.has_view_or_change_permission(request):
            asked = ListQuery.of(request).link.removesuffix("?")
            return HttpResponseRedirect(self._address("changelist") + asked)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))


# -- asking the backend: one after the other, since each operation closes what it opened -----------------


async def _found(asked: ListQuery) -> tuple[Page, tuple[NodeRecord, ...]]:
    return await service.sessions(asked.offset, PAGE, asked.query, asked.order), await service.nodes()


async def _looked_into(keys: Iterable[str]) -> list[SessionDetail]:
    """Return what is known of those sessions that are not over."""
    found = [await service.look_into(key) for key in keys if _KEY.fullmatch(key)]
    return [detail for detail in found if detail is not None]


async def _end_all(keys: Iterable[str]) -> tuple[list[str], BackendError | None]:
    """End sessions; return those that were, also when the store stops to answer."""
    ended: list[str] = []
    try:
        for key in keys:
            if await service.end_session(key):
                ended.append(key)
    except BackendError as error:
        return ended, error
    return ended, None


def _answer_with(
    news: Callable[_P, Coroutine[Any, Any, dict[str, Any]]], *args: _P.args, **kwargs: _P.kwargs
) -> JsonResponse:
    """Answer with what is new, or with what keeps it from being known."""
    try:
        return JsonResponse(async_to_sync(news)(*args, **kwargs))
    except BackendError as error:
        return JsonResponse({"error": str(error)}, status=503)


def _by_stream(detail: SessionDetail, lines: Iterable[MessageRow]) -> list[tuple[str, list[MessageRow]]]:
    """Return the lines of each stream."""
    logs: dict[str, list[MessageRow]] = {stream.name: [] for stream in detail.streams}
    for line in lines:
        logs.setdefault(line.stream, []).append(line)
    return list(logs.items())
