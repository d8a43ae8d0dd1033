"""Personal access tokens: secrets that act for a user, of which only digests are kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from mcp_transport.contrib.tokens.authenticator import PREFIX

__all__ = ["PersonalToken", "PersonalTokens", "State", "validate_future", "validate_scopes"]

# 36 of the 256 random bits, which leaves more than enough to guess.
_HINT_LENGTH: Final = len(PREFIX) + 6

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749, 3.3

_NOTE_EVERY: Final = timedelta(minutes=1)


class State(models.TextChoices):
    """Whether a token is accepted, and if not, why."""

    VALID = "valid", _("valid")
    EXPIRED = "expired", _("expired")
    REVOKED = "revoked", _("revoked")


def validate_scopes(value: str) -> None:
    """Refuse what is no list of scopes (RFC 6749, 3.3).

    Raises:
        ValidationError: a scope has a character that scopes cannot have.
    """
    for scope in value.split():
        if not _SCOPE.fullmatch(scope):
            raise ValidationError(
                _('"%(scope)s" is no scope: only visible ASCII without quotes and backslashes is allowed.'),
                params={"scope": scope},
            )


def validate_future(value: datetime) -> None:
    """Refuse a time that has passed.

    Raises:
        ValidationError: it has.
    """
    if value <= timezone.now():
        raise ValidationError(_("This time has passed."))


class PersonalTokens(models.Manager["PersonalToken"]):
    """Issues tokens, and finds them by their secrets."""

    def issue(
        self, user: Any, *, name: str = "", scopes: str | Iterable[str] = (), expires: datetime | None = None
    ) -> tuple[PersonalToken, str]:
        """Make a token, and return it with its secret, which is not stored and cannot be shown again.

        Raises:
            ValidationError: a scope has a character that scopes cannot have.
        """
        named = (scopes if isinstance(scopes, str) else " ".join(scopes)).split()
        token = self.model(user=user, name=name, scopes=" ".join(dict.fromkeys(named)), expires=expires)
        validate_scopes(token.scopes)
        secret = token.draw_secret()
        token.save(force_insert=True, using=self.db)
        return token, secret

    def find(self, secret: str) -> PersonalToken | None:
        """Return the token with a secret, in whatever state, and its user."""
        # The time that a search by digest takes tells nothing: nobody can choose digests.
        return self.select_related("user").filter(digest=_digest(secret)).first()


class PersonalToken(models.Model):
    """A token that acts for a user, within the scopes it lists; one that lists none has none."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mcp_tokens", verbose_name=_("user")
    )
    name = models.CharField(_("name"), max_length=100, blank=True, help_text=_("What it is for."))
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    hint = models.CharField(
        _("hint"), max_length=16, editable=False, help_text=_("The first characters, to recognise it by.")
    )
    scopes = models.TextField(
        _("scopes"),
        blank=True,
        validators=[validate_scopes],
        help_text=_("What it may do: names with spaces between. A token without scopes has none."),
    )
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires = models.DateTimeField(
        _("expires"), null=True, blank=True, validators=[validate_future], help_text=_("Empty: never.")
    )
    last_used = models.DateTimeField(
        _("last used"), null=True, blank=True, editable=False, help_text=_("To the minute.")
    )
    revoked = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)

    objects = PersonalTokens()

    fresh_secret: str = ""
    """Where the admin keeps a new token's secret until its answer is written; no column."""

    class Meta:
        verbose_name = _("personal token")
        verbose_name_plural = _("personal tokens")
        ordering = ("-created", "-pk")
        permissions = (("issue_for_others", _("Can issue tokens for other users")),)

    def __str__(self) -> str:
        return f"{self.hint}… {self.name}".rstrip()

    @property
    def state(self) -> State:
        """Tell whether the token is accepted now."""
        if self.revoked is not None:
            return State.REVOKED
        is_over = self.expires is not None and self.expires <= timezone.now()
        return State.EXPIRED if is_over else State.VALID

    @property
    def scope_set(self) -> frozenset[str]:
        """Return the scopes, one by one."""
        return frozenset(self.scopes.split())

    def draw_secret(self) -> str:
        """Return a new secret that is this token's once the token is saved."""
        secret = PREFIX + secrets.token_urlsafe(32)
        self.digest, self.hint = _digest(secret), secret[:_HINT_LENGTH]
        return secret

    def note_use(self) -> None:
        """Note that the token is in use now, unless some node did so in the last minute."""
        now = timezone.now()
        if self.last_used is None or self.last_used <= now - _NOTE_EVERY:
            is_old = Q(last_used=None) | Q(last_used__lte=now - _NOTE_EVERY)
            PersonalToken.objects.filter(is_old, pk=self.pk).update(last_used=now)

    def revoke(self) -> None:
        """Accept the token no longer; the time of the first revocation stays."""
        if self.revoked is None:
            self.revoked = timezone.now()
            self.save(update_fields=["revoked"])


def _digest(secret: str) -> str:
    # Neither salted nor slow, unlike a password's: nobody guesses 256 random bits, and the digest is the index.
    return hashlib.sha256(secret.encode()).hexdigest()
