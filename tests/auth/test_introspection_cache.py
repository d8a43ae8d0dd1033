"""Answers about opaque tokens: how long they are kept, of how many tokens, and who waits for one together."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import User

from mcp_transport.auth import introspection
from mcp_transport.auth.introspection import IntrospectionAuthenticator
from tests.auth.issuer import AuthServer
from tests.auth.test_introspection import (
    INACTIVE,
    NO_USER,
    TOKEN,
    active,
    authenticator,
    build,
    principal_of,
    reason,
    refusal,
    server,
)
from tests.support.clock import FakeClock

__all__ = ["authenticator", "server"]


@dataclass
class CacheCase:
    """How long an answer is kept: pauses, and how often the server was asked behind each of them."""

    schedule: list[tuple[float, int]]
    answer: dict[str, Any] = field(default_factory=active)
    options: dict[str, Any] = field(default_factory=dict)


CACHE_CASES = {
    "for half a minute": CacheCase([(0, 1), (0, 1), (29, 1), (2, 2), (29, 2)]),
    "as long as is set": CacheCase([(0, 1), (0.5, 1), (1, 2)], options={"cache_seconds": 1}),
    "longer": CacheCase([(0, 1), (99, 1)], options={"cache_seconds": 100}),
    "not at all": CacheCase([(0, 1), (0, 2)], options={"cache_seconds": 0}),
    "inactive: for five seconds": CacheCase([(0, 1), (4, 1), (2, 2)], {"active": False}),
    "inactive: no longer than others": CacheCase([(0, 1), (2.5, 2)], {"active": False}, {"cache_seconds": 2}),
    "inactive: not at all": CacheCase([(0, 1), (0.5, 2)], {"active": False}, {"cache_seconds": 0}),
    "until the token expires": CacheCase([(0, 1), (9, 1), (2, 2)], active(exp=10)),
    "no longer than others": CacheCase([(0, 1), (29, 1), (2, 2)], active(exp=100)),
    "expired": CacheCase([(0, 1), (0, 2)], active(exp=-5)),
    "odd end": CacheCase([(0, 1), (0, 2)], active(exp="soon")),
    "list as an end": CacheCase([(0, 1), (0, 2)], active(exp=[9e9])),
    "object as an end": CacheCase([(0, 1), (0, 2)], active(exp={})),
}


@pytest.mark.parametrize("case", CACHE_CASES.values(), ids=CACHE_CASES.keys())
async def test_answer_is_kept(server: AuthServer, clock: FakeClock, case: CacheCase) -> None:
    ends = case.answer.get("exp")
    server.answers[TOKEN] = {**case.answer, **({"exp": clock.now() + ends} if isinstance(ends, int) else {})}
    authenticator = build(server, now=clock.now, **case.options)
    for seconds, count in case.schedule:
        await clock.advance(seconds)
        if case.answer["active"]:
            await principal_of(authenticator)
        else:
            assert await reason(authenticator) == INACTIVE
        assert len(server.requests) == count


async def test_token_may_become_inactive_and_active_again(
    server: AuthServer, authenticator: IntrospectionAuthenticator, clock: FakeClock
) -> None:
    await principal_of(authenticator)
    server.answers[TOKEN] = {"active": False}
    await clock.advance(31)
    assert await reason(authenticator) == INACTIVE
    server.answers[TOKEN] = active()
    await clock.advance(6)
    await principal_of(authenticator)


async def test_tokens_are_not_mistaken_for_each_other(
    server: AuthServer, authenticator: IntrospectionAuthenticator
) -> None:
    server.answers["other"] = active(sub="bob-1")
    for _ in range(2):
        assert (await principal_of(authenticator)).subject == "ann-1"
        assert (await principal_of(authenticator, "other")).subject == "bob-1"
    assert len(server.requests) == 2


async def test_tokens_themselves_are_not_kept(authenticator: IntrospectionAuthenticator) -> None:
    await principal_of(authenticator)
    assert list(authenticator._responses) == [hashlib.sha256(TOKEN.encode()).digest()]
    assert TOKEN not in repr(vars(authenticator)) + repr(list(authenticator._responses.items()))


async def test_no_more_than_so_many_answers_are_kept(
    server: AuthServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert introspection._MAX_RESPONSES == 10_000
    monkeypatch.setattr(introspection, "_MAX_RESPONSES", 3)
    authenticator = build(server, now=clock.now)
    for number in range(5):
        assert await reason(authenticator, f"token-{number}") == INACTIVE
    assert len(authenticator._responses) == 3


async def test_users_own_claims_do_not_change_what_is_kept(server: AuthServer, clock: FakeClock) -> None:
    tokens = list[str]()

    def spoil(claims: dict[str, Any]) -> None:
        tokens.append(claims.pop("sub"))

    authenticator = build(server, user=spoil, now=clock.now)
    for _ in range(2):
        assert await reason(authenticator) == NO_USER
    assert tokens == ["ann-1", "ann-1"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("cache_seconds", [30, 0])
async def test_requests_with_one_token_ask_together_and_others_apart(
    server: AuthServer, cache_seconds: float
) -> None:
    authenticator = build(server, cache_seconds=cache_seconds)
    server.answers["other"] = active(sub="bob-1")
    server.hold()
    waiting = [asyncio.create_task(principal_of(authenticator, name)) for name in (TOKEN, "other") * 25]
    await server.until_requested(2)
    server.release()
    assert [principal.subject for principal in await asyncio.gather(*waiting)] == ["ann-1", "bob-1"] * 25
    assert len(server.requests) == 2


def test_event_loops_of_a_process_share_answers(server: AuthServer) -> None:
    authenticator = build(server)
    for _ in range(3):
        assert asyncio.run(principal_of(authenticator)).subject == "ann-1"
    assert len(server.requests) == 1


async def test_answer_that_is_kept_is_used_while_the_server_is_away(
    server: AuthServer, authenticator: IntrospectionAuthenticator, clock: FakeClock
) -> None:
    await principal_of(authenticator)
    server.status = 500
    await clock.advance(29)
    await principal_of(authenticator)
    await clock.advance(2)
    await refusal(authenticator)
    server.status = 200
    await principal_of(authenticator)  # a failure is not kept


async def test_user_who_was_barred_is_refused_although_the_answer_is_kept(
    server: AuthServer, transactional_db: None
) -> None:
    ann = await User.objects.acreate_user("ann-1")
    authenticator = build(server, user_claim="sub")
    assert (await principal_of(authenticator)).user == ann
    await User.objects.filter(pk=ann.pk).aupdate(is_active=False)
    assert await reason(authenticator) == NO_USER
    assert len(server.requests) == 1
