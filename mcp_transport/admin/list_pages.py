"""The list of sessions, its export, and the pages that end sessions."""

from __future__ import annotations

import re
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from mcp_transport import bootstrap, conf
from mcp_transport.admin.export import FORMATS, MAX_EXPORTED, export, stream
from mcp_transport.admin.list_query import PAGE_SIZE, ListQuery, columns
from mcp_transport.admin.list_rows import session_row
from mcp_transport.admin.pages import KEY, SessionPages, handles_outages
from mcp_transport.admin.sidebar import node_labels, sidebar
from mcp_transport.backends.records import Facets, NodeRecord, Page
from mcp_transport.domain.session import Session as SessionRecord
from mcp_transport.domain.session_query import SessionQuery
from mcp_transport.models import Session
from mcp_transport.operators import service

__all__ = ["MAX_ENDED", "ListPages"]

MAX_ENDED: Final = 1000
"""The most sessions that are ended at once: the first ones in the order of the list."""

_MAX_SHOWN: Final = 100
_SELECTED: Final = "_selected_action"
_SELECTED_TOGETHER: Final = "selected"
_EXPORT_NAME: Final = "mcp-sessions"
# Each page reads every session, which DynamoDB bills.
_COSTLY_BACKENDS: Final = ("dynamodb",)


class ListPages(SessionPages):
    """Shows the list, exports it, and ends sessions."""

    # -- the list ------------------------------------------------------------------------------------

    @handles_outages
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show a page of the list of sessions."""
        self.check_may_view(request)
        title = capfirst(self.opts.verbose_name_plural)
        if not service.can_list():
            return self.page(request, "change_list", title=title, can_list=False)
        list_query = ListQuery.of(request)
        page, facets, nodes = async_to_sync(_list)(list_query)
        last = list_query.offset + len(page.sessions)
        has_more = last < page.total if page.is_exact else len(page.sessions) == PAGE_SIZE
        labels = node_labels(nodes)
        return self.page(
            request,
            "change_list",
            title=title,
            can_list=True,
            list_query=list_query,
            columns=columns(list_query),
            rows=[session_row(session, list_query, labels) for session in page.sessions],
            total=page.total,
            is_exact=page.is_exact,
            selectable=min(page.total, MAX_ENDED) if has_more or list_query.offset else 0,
            first=list_query.offset + 1,
            last=last,
            previous=list_query.at(list_query.offset - PAGE_SIZE).link if list_query.offset else "",
            next=list_query.at(list_query.offset + PAGE_SIZE).link if has_more else "",
            filters=sidebar(list_query, facets, nodes),
            is_costly=bootstrap.backend_name() in _COSTLY_BACKENDS,
            formats=[(name, name.upper()) for name in FORMATS],
            max_exported=MAX_EXPORTED,
            endpoint_url=conf.get("RESOURCE_URL") or request.build_absolute_uri("/mcp"),
        )

    @handles_outages
    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send the filtered list as a file."""
        self.check_may_view(request)
        form = request.GET.get("format", "")
        if form not in FORMATS or not service.can_list():
            raise Http404
        list_query = ListQuery.of(request)
        query = async_to_sync(_query_of)(list_query)

        def read(offset: int, limit: int) -> Page:
            return async_to_sync(service.sessions)(offset, limit, query, list_query.order)

        parts = export(form, read)
        is_async = isinstance(request, ASGIRequest)
        response = StreamingHttpResponse(stream(parts) if is_async else parts, content_type=FORMATS[form])
        response["Content-Disposition"] = f'attachment; filename="{_EXPORT_NAME}.{form}"'
        return response

    # -- ending --------------------------------------------------------------------------------------

    @handles_outages
    def end_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation, then end the selected sessions, or those that match the list's filters."""
        if request.POST.get("select_across") == "1" and service.can_list():
            self.check_may_view(request)  # since it shows sessions that the user has not named
            if not self.has_delete_permission(request):
                raise PermissionDenied
            page = async_to_sync(_first_matches)(ListQuery.of(request))
            return self._confirm(request, list(page.sessions), self.list_address(request), total=page.total)
        together = re.split(r"\s+", request.POST.get(_SELECTED_TOGETHER, ""))
        keys = [*request.POST.getlist(_SELECTED), *together]
        return self._end(request, keys, self.list_address(request))

    @handles_outages
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for confirmation, then end a session."""
        origin = self.address("change", object_id) if KEY.fullmatch(object_id) else self.address("changelist")
        return self._end(request, [object_id], origin)

    def _end(self, request: HttpRequest, keys: list[str], origin: str) -> HttpResponse:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        keys = [key for key in dict.fromkeys(keys) if KEY.fullmatch(key)][:MAX_ENDED]
        if request.method == "POST" and request.POST.get("post"):
            return self._ended(request, keys)
        return self._confirm(request, async_to_sync(_live_sessions)(keys), origin)

    def _confirm(
        self, request: HttpRequest, sessions: list[SessionRecord], origin: str, total: int = 0
    ) -> HttpResponse:
        """Ask whether to end sessions; `total` match, if they were selected by filters."""
        if not sessions:
            messages.warning(request, _("No session was selected that could be ended."))
            return self.back(request)
        return self.page(
            request,
            "end_confirmation",
            title=_("End sessions?"),
            rows=[session_row(session, ListQuery(), {}) for session in sessions[:_MAX_SHOWN]],
            count=len(sessions),
            others=len(sessions) - _MAX_SHOWN,
            not_selected=max(0, total - len(sessions)),
            calls=sum(session.calls for session in sessions),
            keys=[session.key for session in sessions],
            origin=origin,
        )

    def _ended(self, request: HttpRequest, keys: list[str]) -> HttpResponse:
        ended, error = async_to_sync(service.end_sessions)(keys)
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
        return self.back(request)


# -- backend operations: in sequence, because each closes the connections that it opened -----------------


async def _query_of(list_query: ListQuery) -> SessionQuery:
    return list_query.query(await service.traffic() if list_query.needs_traffic else None)


async def _list(list_query: ListQuery) -> tuple[Page, Facets, tuple[NodeRecord, ...]]:
    query = await _query_of(list_query)
    page, facets = await service.sessions_and_facets(list_query.offset, PAGE_SIZE, query, list_query.order)
    return page, facets, await service.nodes()


async def _live_sessions(keys: list[str]) -> list[SessionRecord]:
    """Return the sessions that have not ended."""
    details = [await service.session_detail(key) for key in keys]
    return [detail.session for detail in details if detail is not None]


async def _first_matches(list_query: ListQuery) -> Page:
    return await service.sessions(0, MAX_ENDED, await _query_of(list_query), list_query.order)
