"""Issue, list and revoke personal access tokens, from the shell."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from mcp_transport.contrib.tokens.models import PersonalToken
from mcp_transport.management.argument_types import MAX_DAYS, whole_number
from mcp_transport.management.terminal import write_result

__all__ = ["Command"]

_MAX_ID_DIGITS = 20  # of 64 bits
_ROW = "{:>6}  {:12}  {:16}  {:16}  {:24}  {:19}  {:19}  {:8}"


class Command(BaseCommand):
    """Manages the tokens in the project's database."""

    help = "Issue, list and revoke personal access tokens for MCP clients."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="issue a token and print it once")
        create.add_argument("username", help="the user that the token acts for")
        create.add_argument("--name", default="", help="a description of the token")
        create.add_argument("--scope", action="append", default=[], help="scope of the token (repeatable)")
        create.add_argument(
            "--expires-in-days",
            type=whole_number(1, MAX_DAYS),
            metavar="N",
            help="days until the token expires (default: never)",
        )
        listing = verbs.add_parser("list", help="list tokens, newest first")
        listing.add_argument("--user", help="filter by user")
        listing.add_argument("--json", action="store_true")
        revoke = verbs.add_parser("revoke", help="revoke tokens")
        revoke.add_argument("names", nargs="+", metavar="id_or_hint", help="IDs or hints, as printed by `list`")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        getattr(self, f"_{verb}")(**options)

    def _create(self, *, username: str, name: str, scope: list[str], **options: Any) -> None:
        user, days = _find_user(username), options["expires_in_days"]
        expires = timezone.now() + timedelta(days=days) if days is not None else None
        if not user.is_active:
            raise CommandError(f"The user {username!r} is not active.")
        if len(name) > (max_length := PersonalToken._meta.get_field("name").max_length or 0):
            raise CommandError(f"--name must have at most {max_length} characters.")
        try:
            token, secret = PersonalToken.objects.issue(user, name=name, scopes=scope, expires=expires)
        except ValidationError as error:
            raise CommandError(f"--scope: {' '.join(error.messages)}") from error
        scopes = f"scopes {token.scopes}" if token.scopes else "no scopes"
        validity = f"valid until {_time(expires)}" if expires else "valid until it is revoked"
        self.stderr.write(
            f"Token {token.pk} ({token.hint}) of {username}, {scopes}, {validity}. It will not be shown again:",
            self.style.NOTICE,
        )
        self.stdout.write(secret)

    def _list(self, *, user: str | None, **options: Any) -> None:
        tokens = PersonalToken.objects.select_related("user")
        if user is not None:
            tokens = tokens.filter(user=_find_user(user))
        heads = _ROW.format("id", "hint", "name", "user", "scopes", "expires", "last used", "state")
        lines = [heads, *map(_row, tokens), f"{len(tokens)} token{'' if len(tokens) == 1 else 's'}"]
        write_result(self.stdout, options, [_public(token) for token in tokens], lines)

    def _revoke(self, *, names: list[str], **options: Any) -> None:
        for token in [_find(name) for name in names]:
            was_revoked = token.revoked is not None
            token.revoke()
            self.stdout.write(f"{token.hint} was already revoked" if was_revoked else f"revoked {token.hint}")


def _find_user(name: str) -> Any:
    kind = get_user_model()
    try:
        return kind._default_manager.get_by_natural_key(name)
    except kind.DoesNotExist:
        raise CommandError(f"There is no user {name!r}.") from None


def _find(name: str) -> PersonalToken:
    is_id = name.isdecimal() and len(name) <= _MAX_ID_DIGITS
    if is_id:
        tokens = list(PersonalToken.objects.filter(pk=int(name)))
    else:
        # Filtered again, because LIKE is case-insensitive in SQLite.
        candidates = PersonalToken.objects.filter(hint__startswith=name)
        tokens = [token for token in candidates if token.hint.startswith(name)]
    if len(tokens) != 1:
        lookup = "the ID" if is_id else "a hint that starts with"
        raise CommandError(f"{'No token' if not tokens else 'More than one token'} has {lookup} {name!r}.")
    return tokens[0]


def _public(token: PersonalToken) -> dict[str, Any]:
    """Return the public fields of a token, without its digest and with ISO 8601 times."""
    fields = {"id": token.pk, "hint": token.hint, "name": token.name, "user": token.user.get_username()}
    times = {name: getattr(token, name) for name in ("created", "expires", "last_used", "revoked")}
    return {
        **fields,
        "scopes": token.scopes.split(),
        "state": token.state.value,
        **{name: _time(value) if value is not None else None for name, value in times.items()},
    }


def _row(token: PersonalToken) -> str:
    return _ROW.format(
        token.pk,
        token.hint,
        token.name[:16],
        token.user.get_username()[:16],
        (token.scopes or "-")[:24],
        _time(token.expires)[:19] if token.expires else "never",
        _time(token.last_used)[:19] if token.last_used else "never",
        token.state.value,
    ).rstrip()


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
