"""The routes of the REST API; `schema/` describes them."""

from __future__ import annotations

from django.urls import path

from mcp_transport.api import views

__all__ = ["urlpatterns"]

app_name = "mcp_api"

urlpatterns = [
    path("sessions/", views.SessionList.as_view(), name="sessions"),
    path("sessions/<str:id>/", views.SessionDetail.as_view(), name="session"),
    path("sessions/<str:id>/calls/", views.CallList.as_view(), name="calls"),
    path("sessions/<str:id>/calls/cancel/", views.CallCancel.as_view(), name="cancel"),
    path("sessions/<str:id>/messages/", views.MessageList.as_view(), name="messages"),
    path("overview/", views.Overview.as_view(), name="overview"),
    path("metrics/", views.Metrics.as_view(), name="metrics"),
    path("nodes/", views.NodeList.as_view(), name="nodes"),
    path("tools/", views.ToolList.as_view(), name="tools"),
    path("schema/", views.Schema.as_view(), name="schema"),
]
