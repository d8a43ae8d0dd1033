"""What all pages of sessions share: their context, permissions, redirects, and the page while the store is away."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from mcp_transport import bootstrap
from mcp_transport.admin.list_query import ListQuery
from mcp_transport.domain.session import short_id
from mcp_transport.exceptions import BackendError

__all__ = ["KEY", "SessionPages", "handles_outages", "json_response"]

KEY: Final = re.compile(r"[A-Z2-7]{26}")

_P = ParamSpec("_P")
_A = TypeVar("_A", bound="SessionPages")
_R = TypeVar("_R", bound=HttpResponseBase)


def handles_outages(
    view: Callable[Concatenate[_A, HttpRequest, _P], _R],
) -> Callable[Concatenate[_A, HttpRequest, _P], _R | HttpResponse]:
    """Decorate a view to show an error page with status 503 while the store is unavailable."""

    @wraps(view)
    def guarded(self: _A, request: HttpRequest, /, *args: _P.args, **kwargs: _P.kwargs) -> _R | HttpResponse:
        try:
            return view(self, request, *args, **kwargs)
        except BackendError as error:
            title = _("The session store does not answer")
            return self.page(request, "unavailable", 503, title=title, error=str(error))

    return guarded


def json_response(update: Callable[..., Coroutine[Any, Any, dict[str, Any]]], *args: Any) -> JsonResponse:
    """Return an update as JSON, or the store's error with status 503."""
    try:
        return JsonResponse(async_to_sync(update)(*args))
    except BackendError as error:
        return JsonResponse({"error": str(error)}, status=503)


class SessionPages(admin.ModelAdmin):
    """Renders pages of sessions, and redirects between them."""

    def page(self, request: HttpRequest, template: str, status: int = 200, **context: Any) -> HttpResponse:
        """Render a template of the session pages."""
        endpoint = bootstrap.endpoint()
        region = endpoint.policy.region
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            # The nodes and sessions of the store of this region.
            "subtitle": _("Region %(name)s") % {"name": region} if region else None,
            "backend": endpoint.backend,
            "may_view": self.has_view_or_change_permission(request),
            "may_cancel": self.has_change_permission(request),
            "may_end": self.has_delete_permission(request),
        }
        request.current_app = self.admin_site.name
        name = f"admin/mcp_transport/session/{template}.html"
        return TemplateResponse(request, name, {**shared, **context}, status=status)

    def check_may_view(self, request: HttpRequest) -> None:
        """Refuse users who may not view sessions. Raises: PermissionDenied."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied

    def log_operation(self, request: HttpRequest, name: str, message: str) -> None:
        """Write what was done to something other than a session, such as a tool or a node, to the admin's log."""
        user: Any = request.user  # who has a permission is no anonymous user
        LogEntry.objects.create(
            user=user,
            content_type_id=get_content_type_for_model(self.model).pk,
            object_repr=name,
            action_flag=CHANGE,
            change_message=message,
        )

    def address(self, page: str, *args: str) -> str:
        """Return the URL of a page."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def list_address(self, request: HttpRequest) -> str:
        """Return the URL of the list with the search, the filters and the order of the request."""
        return self.address("changelist") + ListQuery.of(request).link.removesuffix("?")

    def back(self, request: HttpRequest, over: str = "") -> HttpResponse:
        """Redirect to the list as it was, or to the index without the view permission; warn that `over` has ended."""
        if over:
            name = short_id(over) if KEY.fullmatch(over) else over[:10]
            messages.warning(request, _("The session “%(id)s” does not exist: it may have ended.") % {"id": name})
        if self.has_view_or_change_permission(request):
            return HttpResponseRedirect(self.list_address(request))
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))
