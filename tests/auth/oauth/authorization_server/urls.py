"""URLs of the authorization server: the toolkit's own, a login, and what a test may do to a token."""

from __future__ import annotations

from django.contrib.auth.views import LoginView
from django.urls import include, path

from tests.auth.oauth.authorization_server.views import expire

urlpatterns = [
    # At the root, so that the metadata of RFC 8414 is where clients look for it.
    path("", include("oauth2_provider.urls")),
    path("login/", LoginView.as_view(), name="login"),
    path("tests/expire", expire),
]
