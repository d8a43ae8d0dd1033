"""No views: the mount has the endpoint and its health."""

from __future__ import annotations

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
