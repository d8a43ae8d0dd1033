"""Personal access tokens in the Django admin."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminTextInputWidget
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from mcp_transport.contrib.tokens.models import PersonalToken, State

__all__ = ["PersonalTokenAdmin", "PersonalTokenForm"]

_REVOKE: Final = "_revoke"
"""The name of the button on a token's page."""


class PersonalTokenForm(forms.ModelForm):
    """The form of a new token; `issuer` is the user who submits it."""

    issuer: Any = None

    def clean_user(self) -> Any:
        """Validate that the issuer may issue tokens for the user. Raises: ValidationError."""
        user = self.cleaned_data["user"]
        if not _may_issue(self.issuer, user):
            raise ValidationError(_("You may not issue tokens for this user."))
        return user


def _may_issue(issuer: Any, user: Any) -> bool:
    if issuer.is_superuser or issuer == user:
        return True
    return not user.is_superuser and bool(issuer.has_perm("mcp_tokens.issue_for_others"))


class StateFilter(admin.SimpleListFilter):
    """Filters tokens by whether they are accepted now."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[PersonalToken]) -> QuerySet[PersonalToken]:
        expired = Q(expires__lte=timezone.now())
        match self.value():
            case State.REVOKED:
                return queryset.filter(revoked__isnull=False)
            case State.EXPIRED:
                return queryset.filter(expired, revoked=None)
            case State.VALID:
                return queryset.filter(~expired | Q(expires=None), revoked=None)
        return queryset


@admin.register(PersonalToken)
class PersonalTokenAdmin(admin.ModelAdmin):
    """Issues, shows and revokes tokens.

    With the add permission, users may issue tokens for themselves. Tokens for others need the permission
    `issue_for_others`, and tokens for a superuser a superuser, since a token acts for its user.
    """

    list_display = ("hint", "name", "user", "scopes", "created", "expires", "last_used", "state")
    list_display_links = ("hint", "name")
    list_filter = (StateFilter, "created", "expires", "last_used")
    list_select_related = ("user",)
    raw_id_fields = ("user",)
    form = PersonalTokenForm
    formfield_overrides: ClassVar[Any] = {models.TextField: {"widget": AdminTextInputWidget}}  # of scopes
    change_form_template = "admin/mcp_tokens/personaltoken/change_form.html"
    actions = ("revoke",)

    _add_fields = ("user", "name", "scopes", "expires")
    _change_fields = ("hint", "name", "user", "scopes", "created", "expires", "last_used", "revoked", "state")

    @admin.display(description=_("state"))
    def state(self, token: PersonalToken) -> str:
        """Return whether the token is accepted now."""
        return str(token.state.label)

    @admin.action(description=_("Revoke selected tokens"), permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[PersonalToken]) -> None:
        """Revoke the selected tokens."""
        tokens = list(queryset.filter(revoked=None))
        for token in tokens:
            token.revoke()
            self.log_change(request, token, [{"changed": {"fields": ["revoked"]}}])
        self._report_revoked(request, len(tokens))

    def _report_revoked(self, request: HttpRequest, count: int) -> None:
        message = ngettext("%(count)d token was revoked.", "%(count)d tokens were revoked.", count)
        self.message_user(request, message % {"count": count})

    def get_form(
        self, request: HttpRequest, obj: PersonalToken | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"issuer": request.user})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"user": request.user.pk, **super().get_changeform_initial_data(request)}

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("hint", "name", f"user__{get_user_model().USERNAME_FIELD}")

    def get_fields(self, request: HttpRequest, obj: PersonalToken | None = None) -> tuple[str, ...]:
        return self._change_fields if obj else self._add_fields

    def get_readonly_fields(self, request: HttpRequest, obj: PersonalToken | None = None) -> tuple[str, ...]:
        return tuple(name for name in self._change_fields if name != "name") if obj else ()

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the form without the buttons that would skip the page with the secret."""
        hidden = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **hidden})

    def save_model(self, request: HttpRequest, obj: PersonalToken, form: Any, change: bool) -> None:
        if not change:
            obj.new_secret = obj.generate_secret()
        super().save_model(request, obj, form, change)
        if change and _REVOKE in request.POST:
            obj.revoke()

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> list[dict[str, Any]]:
        message = super().construct_change_message(request, form, formsets, add)
        return [*message, {"changed": {"fields": ["revoked"]}}] if not add and _REVOKE in request.POST else message

    def response_change(self, request: HttpRequest, obj: PersonalToken) -> HttpResponse:
        if _REVOKE not in request.POST:
            return super().response_change(request, obj)
        self._report_revoked(request, 1)
        return HttpResponseRedirect(request.get_full_path())

    def response_add(
        self, request: HttpRequest, obj: PersonalToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        # Not with django.contrib.messages, which would store the secret in a cookie or in the session.
        context = {
            **self.admin_site.each_context(request),
            "title": _("The token was issued"),
            "opts": self.opts,
            "token": obj,  # not the secret itself: at level DEBUG, Django logs contexts
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/mcp_tokens/personaltoken/issued.html", context)
