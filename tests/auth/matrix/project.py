"""The project that the matrix attacks: its tools, its stores, its settings, by the authenticators in use."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import pytest
from pydantic import BaseModel

from mcp_transport import Context, server, tool
from mcp_transport.declarations import Declarations
from mcp_transport.domain.session import Session
from tests.auth.issuer import ISSUER, RESOURCE, AuthServer
from tests.support.stores import FlakyBackend

OPAQUE_ISSUER = "https://opaque.example"
"""Another authorization server that the project trusts; its tokens are looked up by introspection."""

REQUIRED, READ, WRITE = "mcp", "orders:read", "orders:write"
CALLING = [READ, WRITE]
"""What the tools need besides what every request needs."""

METADATA = 'resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"'


# -- tools -----------------------------------------------------------------------------------------------


class Work:
    """What the tools of one test have done, and may do."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.may_end = asyncio.Event()
        self.cancelled = False


class Name(BaseModel):
    """An answer to `ask`."""

    name: str


work = Work()


def begin() -> Work:
    """Forget what the tools did before."""
    global work
    work = Work()
    return work


async def change(number: int) -> str:
    """Change an order."""
    work.ran.append(f"change {number}")
    return f"changed {number}"


async def look(number: int) -> str:
    """Look at an order."""
    work.ran.append(f"look {number}")
    return f"order {number}"


async def slow(ctx: Context) -> str:
    """Report progress once, then wait until the test lets it end."""
    work.ran.append("slow")
    await ctx.report_progress(1)
    try:
        await work.may_end.wait()
    except asyncio.CancelledError:
        work.cancelled = True
        raise
    return "slow"


async def ask(ctx: Context) -> str:
    """Ask the user for a name."""
    work.ran.append("ask")
    answer = await ctx.elicit("Who?", Name)
    return f"{answer.action} {answer.data.name}" if answer.action == "accept" else answer.action


async def announce(ctx: Context) -> str:
    """Tell the GET streams that the tools changed."""
    work.ran.append("announce")
    await ctx.notify_tools_changed()
    return "announced"


@cache
def declarations() -> Declarations:
    """Declare the tools, aside of those of the test run's own apps."""
    made = Declarations()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "declared", made)
        tool(scopes=[WRITE])(change)
        tool(scopes=[READ])(look)
        tool(scopes=CALLING)(slow)
        tool(ask)
        tool(announce)
    return made


# -- stores ----------------------------------------------------------------------------------------------


class Restoring(FlakyBackend):
    """A store that takes a session back from its id, as Redis does after it has lost it."""

    restores_sessions = True

    async def restore(self, session: Session) -> bool:
        self._save(session)
        self._by_creation[session.key] = None
        return True


def lose(store: FlakyBackend, key: str) -> None:
    """Make a store lose a session's record, as one that is restarted does."""
    session = store._sessions.pop(key)
    store._owned[session.principal].pop(key)
    store._by_creation.pop(key)


COUNTING = f"{FlakyBackend.__module__}.{FlakyBackend.__name__}"
RESTORING = f"{Restoring.__module__}.{Restoring.__name__}"
STORES = {"memory": COUNTING, "restoring": RESTORING}


# -- settings --------------------------------------------------------------------------------------------


def bearer_settings(issuer: AuthServer) -> dict[str, Any]:
    """Return the settings of a resource server: personal tokens, signed tokens, tokens that are looked up."""
    signed = {"ISSUER": ISSUER, "JWKS_URL": issuer.jwks_url, "USER_CLAIM": "preferred_username"}
    opaque = {
        "ISSUER": OPAQUE_ISSUER,
        "URL": f"{issuer.url}/introspect",
        "TOKEN": "the resource's own",
        "USER_CLAIM": "username",
    }
    return {
        "AUTHENTICATORS": [
            "token",
            {"BACKEND": "jwt", "OPTIONS": signed},
            {"BACKEND": "introspection", "OPTIONS": opaque},
        ],
        "RESOURCE_URL": RESOURCE,
        "REQUIRED_SCOPES": [REQUIRED],
    }


def local_settings(issuer: AuthServer) -> dict[str, Any]:
    """Return the settings of a project that asks nobody else: Django's sessions, and REST framework's tokens."""
    classes = ["rest_framework.authentication.TokenAuthentication"]
    return {"AUTHENTICATORS": ["session", {"BACKEND": "drf", "OPTIONS": {"CLASSES": classes}}]}


TABLES = {"bearer": bearer_settings, "local": local_settings}
