"""The admin pages: the list of sessions, one session, ending sessions, cancelling calls, and the dashboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from mcp_transport import bootstrap
from mcp_transport.admin import live
from mcp_transport.admin.links import session_links
from mcp_transport.admin.list_query import PAGE_SIZE, ListQuery, columns, filters
from mcp_transport.admin.session_page import call_name, merged, moments, session_tables
from mcp_transport.admin.tables import parse_request_id, session_row
from mcp_transport.backends.records import NodeRecord, Page
from mcp_transport.domain.session import short_id
from mcp_transport.exceptions import BackendError
from mcp_transport.models import Session
from mcp_transport.operators import service
from mcp_transport.operators.records import SessionDetail
from mcp_transport.operators.representation.formats import pretty_json

__all__ = ["SessionAdmin"]

_SELECTED: Final = "_selected_action"
_KEY: Final = re.compile(r"[A-Z2-7]{26}")

_SHORT_ID: Final = re.compile(r"[A-Za-z2-7]{10,25}")

_MAX_TOOL_NAME: Final = 128

_P = ParamSpec("_P")
_View = Callable[Concatenate["SessionAdmin", HttpRequest, _P], HttpResponse]


def _handles_outages(view: _View[_P]) -> _View[_P]:
    """Decorate a view to show an error page with status 503 while the store is unavailable."""

    @wraps(view)
    def guarded(self: SessionAdmin, request: HttpRequest, /, *args: _P.args, **kwargs: _P.kwargs) -> HttpResponse:
        try:
            return view(self, request, *args, **kwargs)
        except BackendError as error:
            title = _("The session store does not answer")
            return self.page(request, "unavailable", 503, title=title, error=str(error))

    return guarded


class SessionAdmin(admin.ModelAdmin):
    """Shows the sessions of the backend, ends them and cancels their calls.

    The view permission shows the list and sessions, delete ends sessions, and change cancels calls.
    """

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Session | None:
        """Return an object for any well-formed key: the log entries of a session outlive it."""
        return Session(key=object_id) if _KEY.fullmatch(object_id) else None

    def get_urls(self) -> list[URLPattern]:
        """Return Django's URLs, and those of the pages here."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        views: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
            "end": ("end/", self.end_view),
            "dashboard": ("dashboard/", self.dashboard_view),
            "reset": ("dashboard/reset/", self.reset_view),
            "dashboard_live": ("dashboard/live/", self.dashboard_live_view),
            "cancel": ("<str:key>/cancel/", self.cancel_view),
            "live": ("<str:key>/live/", self.live_view),
        }
        paths = [
            path(place, self.admin_site.admin_view(view), name=f"{name}_{page}")
            for page, (place, view) in views.items()
        ]
        return [*paths, *super().get_urls()]

    def page(self, request: HttpRequest, template: str, status: int = 200, **context: Any) -> HttpResponse:
        """Render a template of the session pages."""
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

    # -- viewing --------------------------------------------------------------------------------------

    @_handles_outages
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show a page of the list of sessions."""
        self._check_may_view(request)
        title = self.opts.verbose_name_plural
        if not service.can_list():
            return self.page(request, "change_list", title=title, can_list=False)
        list_query = ListQuery.of(request)
        page, nodes = async_to_sync(_page_and_nodes)(list_query)
        last = list_query.offset + len(page.sessions)
        has_more = last < page.total if page.is_exact else len(page.sessions) == PAGE_SIZE
        return self.page(
            request,
            "change_list",
            title=title,
            can_list=True,
            list_query=list_query,
            columns=columns(list_query),
            rows=[session_row(session) for session in page.sessions],
            total=page.total,
            is_exact=page.is_exact,
            first=list_query.offset + 1,
            last=last,
            previous=list_query.at(list_query.offset - PAGE_SIZE).link if list_query.offset else "",
            next=list_query.at(list_query.offset + PAGE_SIZE).link if has_more else "",
            filters=filters(list_query, page, nodes),
        )

    @_handles_outages
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a session."""
        self._check_may_view(request)
        if not _KEY.fullmatch(object_id):
            return self._find(request, object_id)
        follower = live.MessageFollower.begin(request.user, object_id, request.GET)
        result = async_to_sync(follower.read)()
        if result is None:
            return self._back(request, over=object_id)
        detail, new_messages = result
        return self.page(
            request,
            "change_form",
            title=_("MCP session %(id)s") % {"id": short_id(object_id)},
            key=object_id,
            tables={table.name: table for table in session_tables(detail, follower.waits)},
            moments=moments(detail),
            state=live.session_state(detail),
            links=session_links(self.admin_site.name, request.user, detail.session),
            capabilities=pretty_json(detail.session.capabilities),
            follower=follower,
            may_see_payloads=live.may_see_payloads(request.user),
            timeline=merged(follower.requests(detail), follower.messages(detail, new_messages)),
        )

    def _find(self, request: HttpRequest, name: str) -> HttpResponse:
        """Redirect to the page of the session with a short ID, as in log lines."""
        if not _SHORT_ID.fullmatch(name) or not service.can_list():
            return self._back(request, over=name)
        try:
            key = async_to_sync(service.find_session)(name).key
        except LookupError:
            return self._back(request, over=name)
        return HttpResponseRedirect(self._address("change", key))

    def live_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Return the update of a session's page that polls."""
        self._check_may_view(request)
        if not _KEY.fullmatch(key):
            return JsonResponse({"over": True})
        cursor = request.headers.get("X-Cursor", "")
        return _json_response(live.session_update, live.MessageFollower.begin(request.user, key, request.GET, cursor))

    @_handles_outages
    def dashboard_view(self, request: HttpRequest) -> HttpResponse:
        """Show the dashboard."""
        self._check_may_view(request)
        content = async_to_sync(live.dashboard)()
        return self.page(
            request,
            "dashboard",
            title=_("Dashboard of MCP sessions"),
            tables=content.tables(),
            can_list=content.overview is not None,
        )

    def dashboard_live_view(self, request: HttpRequest) -> HttpResponse:
        """Return the update of a dashboard that polls."""
        self._check_may_view(request)
        return _json_response(live.dashboard_update)

    def _check_may_view(self, request: HttpRequest) -> None:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied

    # -- ending --------------------------------------------------------------------------------------

    @_handles_outages
    def end_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation, then end the selected sessions."""
        return self._end(request, request.POST.getlist(_SELECTED))

    @_handles_outages
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for confirmation, then end a session."""
        return self._end(request, [object_id])

    def _end(self, request: HttpRequest, keys: list[str]) -> HttpResponse:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        keys = [key for key in dict.fromkeys(keys) if _KEY.fullmatch(key)]
        if request.method == "POST" and request.POST.get("post"):
            return self._ended(request, keys)
        details = async_to_sync(_session_details)(keys)
        if not details:
            messages.warning(request, _("No session was selected that could be ended."))
            return self._back(request)
        rows = [session_row(detail.session) for detail in details]
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
            over = ngettext("%(count)d had already ended.", "%(count)d had already ended.", len(keys) - len(ended))
            messages.warning(request, over % {"count": len(keys) - len(ended)})
        return self._back(request)

    # -- cancelling ----------------------------------------------------------------------------------

    @_handles_outages
    def cancel_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Cancel a call of a session."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        request_id = parse_request_id(request.POST.get("request", ""))
        if not _KEY.fullmatch(key):
            return self._back(request, over=key)
        call = None if request_id is None else async_to_sync(service.running_call)(key, request_id)
        if call is not None and not request.POST.get("post"):
            title = _("Cancel the call?")
            return self.page(
                request, "cancel_confirmation", title=title, key=key, call=call, request_id=request.POST["request"]
            )
        if call is not None and async_to_sync(service.cancel_call)(key, call.request_id):
            self.log_change(request, Session(key=key), str(_("Cancelled the call %s.")) % call_name(call))
            messages.success(request, _("The call is being cancelled."))
        else:
            messages.warning(request, _("That call is no longer running."))
        return HttpResponseRedirect(self._address("change", key))

    @_handles_outages
    def reset_view(self, request: HttpRequest) -> HttpResponse:
        """Reset the circuit breaker of a tool on every node."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        tool = request.POST.get("tool", "")[:_MAX_TOOL_NAME]
        async_to_sync(service.reset_circuit_breaker)(tool)
        user: Any = request.user  # who has a permission is no anonymous user
        LogEntry.objects.create(
            user=user,
            content_type_id=get_content_type_for_model(self.model).pk,
            object_repr=tool,
            action_flag=CHANGE,
            change_message=str(_("Reset the circuit breaker.")),
        )
        messages.success(request, _("The circuit breaker of “%(tool)s” is being reset.") % {"tool": tool})
        return HttpResponseRedirect(self._address("dashboard"))

    # -- redirects -----------------------------------------------------------------------------------

    def _address(self, page: str, *args: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def _back(self, request: HttpRequest, over: str = "") -> HttpResponse:
        """Redirect to the list as it was, or to the index without the view permission; warn that `over` has ended."""
        if over:
            name = short_id(over) if _KEY.fullmatch(over) else over[:10]
            messages.warning(request, _("The session “%(id)s” does not exist: it may have ended.") % {"id": name})
        if self.has_view_or_change_permission(request):
            query_string = ListQuery.of(request).link.removesuffix("?")
            return HttpResponseRedirect(self._address("changelist") + query_string)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))


# -- backend operations: in sequence, because each closes the connections that it opened -----------------


async def _page_and_nodes(list_query: ListQuery) -> tuple[Page, tuple[NodeRecord, ...]]:
    page = await service.sessions(list_query.offset, PAGE_SIZE, list_query.query, list_query.order)
    return page, await service.nodes()


async def _session_details(keys: Iterable[str]) -> list[SessionDetail]:
    """Return the sessions that have not ended."""
    details = [await service.session_detail(key) for key in keys if _KEY.fullmatch(key)]
    return [detail for detail in details if detail is not None]


async def _end_all(keys: Iterable[str]) -> tuple[list[str], BackendError | None]:
    """End sessions; return the keys of those that were ended, and the error if the store became unavailable."""
    ended: list[str] = []
    try:
        for key in keys:
            if await service.end_session(key):
                ended.append(key)
    except BackendError as error:
        return ended, error
    return ended, None


def _json_response(update: Callable[..., Coroutine[Any, Any, dict[str, Any]]], *args: Any) -> JsonResponse:
    """Return an update as JSON, or the store's error with status 503."""
    try:
        return JsonResponse(async_to_sync(update)(*args))
    except BackendError as error:
        return JsonResponse({"error": str(error)}, status=503)
