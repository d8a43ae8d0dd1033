"""Personal access tokens: secrets that act for a user, stored as digests only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from mcp_transport.contrib.tokens.token_secrets import HINT_LENGTH, digest, generate_secret
from mcp_transport.validation import is_scope

__all__ = ["PersonalToken", "PersonalTokens", "State", "validate_future", "validate_scopes"]

_USE_INTERVAL: Final = timedelta(minutes=1)


class State(models.TextChoices):
    """The state of a token: valid, or the reason why it is refused."""

    VALID = "valid", _("valid")
    EXPIRED = "expired", _("expired")
    REVOKED = "revoked", _("revoked")


def validate_scopes(value: str) -> None:
    """Validate a space-separated list of scopes (RFC 6749, 3.3).

    Raises:
        ValidationError: a scope has an invalid character.
    """
    for scope in value.split():
        if not is_scope(scope):
            raise ValidationError(
                _('"%(scope)s" is not a valid scope: use printable ASCII without quotes and backslashes.'),
                params={"scope": scope},
            )


def validate_future(value: datetime) -> None:
    """Validate that a time is in the future.

    Raises:
        ValidationError: the time has passed.
    """
    if value <= timezone.now():
        raise ValidationError(_("Enter a time in the future."))


class PersonalTokens(models.Manager["PersonalToken"]):
    """Issues tokens, and finds tokens by secret."""

    def issue(
        self, user: Any, *, name: str = "", scopes: str | Iterable[str] = (), expires: datetime | None = None
    ) -> tuple[PersonalToken, str]:
        """Create a token, and return it with its secret, which is not stored.

        Raises:
            ValidationError: a scope has an invalid character.
        """
        names = (scopes if isinstance(scopes, str) else " ".join(scopes)).split()
        token = self.model(user=user, name=name, scopes=" ".join(dict.fromkeys(names)), expires=expires)
        validate_scopes(token.scopes)
        secret = token.generate_secret()
        token.save(force_insert=True, using=self.db)
        return token, secret

    def find(self, secret: str) -> PersonalToken | None:
        """Return the token with a secret, in any state, with its user; None if there is none."""
        # The lookup's duration reveals nothing, since callers cannot choose digests.
        return self.select_related("user").filter(digest=digest(secret)).first()


class PersonalToken(models.Model):
    """A token that acts for a user with the scopes that it lists; an empty list grants no scopes."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mcp_tokens", verbose_name=_("user")
    )
    name = models.CharField(_("name"), max_length=100, blank=True, help_text=_("A free-form label."))
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    hint = models.CharField(
        _("hint"), max_length=16, editable=False, help_text=_("The first characters of the token.")
    )
    scopes = models.TextField(
        _("scopes"),
        blank=True,
        validators=[validate_scopes],
        help_text=_("Space-separated scopes. A token without scopes has no access to tools that require one."),
    )
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires = models.DateTimeField(
        _("expires"),
        null=True,
        blank=True,
        validators=[validate_future],
        help_text=_("Leave empty if the token does not expire."),
    )
    last_used = models.DateTimeField(
        _("last used"), null=True, blank=True, editable=False, help_text=_("To the minute.")
    )
    revoked = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)

    objects = PersonalTokens()

    new_secret: str = ""
    """The secret of a token that the admin has just issued, until the response is rendered; not a column."""

    class Meta:
        verbose_name = _("personal token")
        verbose_name_plural = _("personal tokens")
        ordering = ("-created", "-pk")
        permissions = (("issue_for_others", _("Can issue tokens for other users")),)

    def __str__(self) -> str:
        return f"{self.hint}… {self.name}".rstrip()

    @property
    def state(self) -> State:
        """Return whether the token is accepted now, or why not."""
        if self.revoked is not None:
            return State.REVOKED
        is_expired = self.expires is not None and self.expires <= timezone.now()
        return State.EXPIRED if is_expired else State.VALID

    @property
    def scope_set(self) -> frozenset[str]:
        """Return the scopes as a set."""
        return frozenset(self.scopes.split())

    def generate_secret(self) -> str:
        """Set the digest and the hint of a new secret, and return the secret; save() makes it valid."""
        secret = generate_secret()
        self.digest, self.hint = digest(secret), secret[:HINT_LENGTH]
        return secret

    def record_use(self) -> None:
        """Set `last_used`, unless a node has done so within the last minute."""
        now = timezone.now()
        if self.last_used is None or self.last_used <= now - _USE_INTERVAL:
            is_outdated = Q(last_used=None) | Q(last_used__lte=now - _USE_INTERVAL)
            PersonalToken.objects.filter(is_outdated, pk=self.pk).update(last_used=now)

    def revoke(self) -> None:
        """Revoke the token; the time of the first revocation is kept."""
        if self.revoked is None:
            self.revoked = timezone.now()
            self.save(update_fields=["revoked"])
