"""Links from the page of a session to what belongs to it elsewhere in the admin."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.auth import get_user_model
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import Session, short_id
from mcp_transport.domain.session_query import client_of

__all__ = ["Link", "session_links"]

_USERS = "django"
"""The issuer of this project's users."""


class Link(NamedTuple):
    """A link and its text."""

    text: str
    url: str


def session_links(site: str, user: Any, session: Session) -> list[Link]:
    """Return the links that a user may follow: to filtered lists, the session's user, its audit entries."""
    filters = {
        _("Sessions of this client"): ("client", client_of(session)),
        _("Sessions of this user"): ("user", session.user),
        _("Sessions of this node"): ("node", session.node),
    }
    listing = _reverse(site, "mcp_transport_session_changelist")
    links = [Link(text, f"{listing}?{urlencode({name: value})}") for text, (name, value) in filters.items() if value]
    return [*links, *_user_link(site, user, session), *_audit_link(site, user, session)]


def _user_link(site: str, user: Any, session: Session) -> list[Link]:
    owner, options = Principal.from_binding(session.principal), get_user_model()._meta
    may_view = any(
        user.has_perm(f"{options.app_label}.{action}_{options.model_name}") for action in ("view", "change")
    )
    if owner.issuer != _USERS or not owner.subject or not may_view:
        return []
    url = _reverse(site, f"{options.app_label}_{options.model_name}_change", owner.subject)
    return [Link(_("User “%(name)s”") % {"name": session.user}, url)] if url else []


def _audit_link(site: str, user: Any, session: Session) -> list[Link]:
    if not apps.is_installed("mcp_transport.contrib.audit") or not user.has_perm("mcp_audit.view_auditentry"):
        return []
    url = _reverse(site, "mcp_audit_auditentry_changelist")
    return [Link(_("Audit entries"), f"{url}?{urlencode({'session__exact': short_id(session.key)})}")] if url else []


def _reverse(site: str, name: str, *args: str) -> str:
    """Return an address, or an empty string if the admin does not have the page."""
    try:
        return reverse(f"admin:{name}", args=args, current_app=site)
    except NoReverseMatch:
        return ""
