"""The dashboard, and what staff can do there: reset circuit breakers, and drain nodes."""

from __future__ import annotations

from typing import Final

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.utils.translation import gettext_lazy as _

from mcp_transport.admin import live
from mcp_transport.admin.dashboard_options import RANGE_LABELS, DashboardOptions
from mcp_transport.admin.pages import SessionPages, handles_outages, json_response
from mcp_transport.admin.sidebar import node_label, node_labels
from mcp_transport.backends.records import NodeRecord
from mcp_transport.operators import service

__all__ = ["DashboardPages"]

_MAX_TOOL_NAME: Final = 128


class DashboardPages(SessionPages):
    """Shows the dashboard, resets circuit breakers and drains nodes."""

    @handles_outages
    def dashboard_view(self, request: HttpRequest) -> HttpResponse:
        """Show the dashboard."""
        self.check_may_view(request)
        options = DashboardOptions.of(request.user, request.GET)
        content = async_to_sync(live.dashboard)(options)
        return self.page(
            request,
            "dashboard",
            title=_("Dashboard of MCP sessions"),
            grids=content.grids(),
            breakers=content.breakers(),
            options=options,
            ranges=[
                {"link": options.with_range(name).link, "label": label, "is_chosen": name == options.range}
                for name, label in RANGE_LABELS.items()
            ],
            can_list=content.overview is not None,
        )

    def dashboard_live_view(self, request: HttpRequest) -> JsonResponse:
        """Return the update of a dashboard that polls."""
        self.check_may_view(request)
        return json_response(live.dashboard_update, DashboardOptions.of(request.user, request.GET))

    @handles_outages
    def drain_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation, then drain a node."""
        if not live.may_drain(request.user):
            raise PermissionDenied
        values = request.POST if request.method == "POST" else request.GET
        name = values.get("node", "")
        nodes = {node.name: node for node in async_to_sync(service.nodes)()}
        node = nodes.get(name)
        if node is None or node.draining:
            text = _("That node is already draining.") if node else _("That node is not live.")
            messages.warning(request, text)
        elif request.method == "POST":
            self._drain(request, node)
        else:
            return self._confirm_drain(request, node, nodes)
        return HttpResponseRedirect(self.address("dashboard"))

    def _confirm_drain(self, request: HttpRequest, node: NodeRecord, nodes: dict[str, NodeRecord]) -> HttpResponse:
        others = sum(not other.draining for other in nodes.values() if other.name != node.name)
        label = node_label(node.name, node_labels([node]))
        title = _("Drain a node?")
        return self.page(request, "drain_confirmation", title=title, node=node, label=label, others=others)

    def _drain(self, request: HttpRequest, node: NodeRecord) -> None:
        label = node_label(node.name, node_labels([node]))
        if async_to_sync(service.drain_node)(node.name):
            self.log_operation(request, label, str(_("Drained the node.")))
            messages.success(request, _("The node %(node)s is being drained.") % {"node": label})
        else:
            messages.warning(request, _("That node is not live."))

    @handles_outages
    def reset_view(self, request: HttpRequest) -> HttpResponse:
        """Reset the circuit breaker of a tool on every node."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        tool = request.POST.get("tool", "")[:_MAX_TOOL_NAME]
        async_to_sync(service.reset_circuit_breaker)(tool)
        self.log_operation(request, tool, str(_("Reset the circuit breaker.")))
        messages.success(request, _("The circuit breaker of “%(tool)s” is being reset.") % {"tool": tool})
        return HttpResponseRedirect(self.address("dashboard"))
