"""The admin pages: the list of sessions, one session, ending sessions, cancelling calls, and the dashboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _

from mcp_transport.admin import live
from mcp_transport.admin.dashboard_pages import DashboardPages
from mcp_transport.admin.links import session_links
from mcp_transport.admin.list_pages import ListPages
from mcp_transport.admin.pages import KEY, handles_outages, json_response
from mcp_transport.admin.session_page import call_name, merged, moments, session_tables
from mcp_transport.admin.tables import parse_request_id
from mcp_transport.domain.session import short_id
from mcp_transport.models import Session
from mcp_transport.operators import service
from mcp_transport.operators.representation.formats import pretty_json

__all__ = ["SessionAdmin"]


_SHORT_ID: Final = re.compile(r"[A-Za-z2-7]{10,25}")


class SessionAdmin(ListPages, DashboardPages):
    """Shows the sessions of the backend, ends them and cancels their calls.

    The view permission shows the list and sessions, delete ends sessions, and change cancels calls.
    """

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Session | None:
        """Return an object for any well-formed key: the log entries of a session outlive it."""
        return Session(key=object_id) if KEY.fullmatch(object_id) else None

    def get_urls(self) -> list[URLPattern]:
        """Return Django's URLs, and those of the pages here."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        views: dict[str, tuple[str, Callable[..., HttpResponseBase]]] = {
            "end": ("end/", self.end_view),
            "export": ("export/", self.export_view),
            "dashboard": ("dashboard/", self.dashboard_view),
            "drain": ("dashboard/drain/", self.drain_view),
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

    # -- a session -----------------------------------------------------------------------------------

    @handles_outages
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a session."""
        self.check_may_view(request)
        if not KEY.fullmatch(object_id):
            return self._find(request, object_id)
        follower = live.MessageFollower.begin(request.user, object_id, request.GET)
        result = async_to_sync(follower.read)()
        if result is None:
            return self.back(request, over=object_id)
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
            return self.back(request, over=name)
        try:
            key = async_to_sync(service.find_session)(name).key
        except LookupError:
            return self.back(request, over=name)
        return HttpResponseRedirect(self.address("change", key))

    def live_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Return the update of a session's page that polls."""
        self.check_may_view(request)
        if not KEY.fullmatch(key):
            return JsonResponse({"over": True})
        cursor = request.headers.get("X-Cursor", "")
        return json_response(live.session_update, live.MessageFollower.begin(request.user, key, request.GET, cursor))

    # -- cancelling ----------------------------------------------------------------------------------

    @handles_outages
    def cancel_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Cancel a call of a session."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        request_id = parse_request_id(request.POST.get("request", ""))
        if not KEY.fullmatch(key):
            return self.back(request, over=key)
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
        return HttpResponseRedirect(self.address("change", key))
