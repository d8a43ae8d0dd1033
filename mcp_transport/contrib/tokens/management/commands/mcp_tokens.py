"""Issue, list and revoke personal access tokens, from the shell."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from mcp_transport.contrib.tokens.models import PersonalToken
from mcp_transport.management.argument_types import MOST_DAYS, whole_number

__all__ = ["Command"]

_LONGEST_ID = 20  # digits of 64 bits
_ROW = "{:>6}  {:12}  {:16}  {:16}  {:24}  {:19}  {:19}  {:8}"


class Command(BaseCommand):
    """Works on the tokens of the project's database."""

    help = "Issue a personal access token for an MCP client, list tokens, or revoke some."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="issue a token and print it, this once")
        create.add_argument("username", help="the user it acts for")
        create.add_argument("--name", default="", help="what it is for")
        create.add_argument("--scope", action="append", default=[], help="what it may do; once for each scope")
        create.add_argument(
            "--expires-in-days",
            type=whole_number(1, MOST_DAYS),
            metavar="N",
            help="without it, it never expires",
        )
        listing = verbs.add_parser("list", help="list tokens, newest first")
        listing.add_argument("--user", help="only those of this user")
        listing.add_argument("--json", action="store_true")
        revoke = verbs.add_parser("revoke", help="revoke tokens: they are not accepted any more")
        revoke.add_argument("names", nargs="+", metavar="id_or_hint", help="as `list` prints them")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        getattr(self, f"_{verb}")(**options)

    def _create(self, *, username: str, name: str, scope: list[str], **options: Any) -> None:
        user, days = _find_user(username), options["expires_in_days"]
        expires = timezone.now() + timedelta(days=days) if days is not None else None
        if not user.is_active:
            raise CommandError(f"The user {username!r} is not active.")
        if len(name) > (longest := PersonalToken._meta.get_field("name").max_length or 0):
            raise CommandError(f"--name must have {longest} characters at most.")
        try:
            token, secret = PersonalToken.objects.issue(user, name=name, scopes=scope, expires=expires)
        except ValidationError as error:
            raise CommandError(f"--scope: {' '.join(error.messages)}") from error
        granted = f"scopes {token.scopes}" if token.scopes else "no scopes"
        ends = f"until {_time(expires)}" if expires else "until it is revoked"
        self.stderr.write(
            f"Token {token.pk} ({token.hint}) of {username}, {granted}, {ends}. It will not be shown again:",
            self.style.NOTICE,
        )
        self.stdout.write(secret)

    def _list(self, *, user: str | None, **options: Any) -> None:
        tokens = PersonalToken.objects.select_related("user")
        if user is not None:
            tokens = tokens.filter(user=_find_user(user))
        if options["json"]:
            self.stdout.write(json.dumps([_public(token) for token in tokens], indent=2))
            return
        self.stdout.write(_ROW.format("id", "hint", "name", "user", "scopes", "expires", "last used", "state"))
        for token in tokens:
            self.stdout.write(_row(token))
        self.stdout.write(f"{len(tokens)} token{'' if len(tokens) == 1 else 's'}")

    def _revoke(self, *, names: list[str], **options: Any) -> None:
        for token in [_find(name) for name in names]:
            was_revoked = token.revoked is not None
            token.revoke()
            self.stdout.write(f"{token.hint} was revoked before" if was_revoked else f"revoked {token.hint}")


def _find_user(name: str) -> Any:
    kind = get_user_model()
    try:
        return kind._default_manager.get_by_natural_key(name)
    except kind.DoesNotExist:
        raise CommandError(f"There is no user {name!r}.") from None


def _find(name: str) -> PersonalToken:
    is_id = name.isdecimal() and len(name) <= _LONGEST_ID
    if is_id:
        found = list(PersonalToken.objects.filter(pk=int(name)))
    else:
        # SQLite ignores the case in a LIKE.
        near = PersonalToken.objects.filter(hint__startswith=name)
        found = [token for token in near if token.hint.startswith(name)]
    if len(found) != 1:
        which = "the id" if is_id else "a hint that begins with"
        raise CommandError(f"{'No token' if not found else 'More than one token'} has {which} {name!r}.")
    return found[0]


def _public(token: PersonalToken) -> dict[str, Any]:
    """Return what is known of a token but its digest, with times for people."""
    known = {"id": token.pk, "hint": token.hint, "name": token.name, "user": token.user.get_username()}
    times = {name: getattr(token, name) for name in ("created", "expires", "last_used", "revoked")}
    return {
        **known,
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
