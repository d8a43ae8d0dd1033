"""The script: one client's calls of every kind, and what must be answered."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

from mcp import MCPError
from mcp_types import PromptReference

from tests.projects.clients import LEGACY, Caller, Outcome, caller
from tests.projects.constants import FAULT, REFUSAL, SEED, USER
from tests.projects.project import ERAS, MOUNT, VIEW, Site
from tests.projects.table import Tally

KINDS = ("sync", "async")
WORKS = ("none", "read", "write")
WHENS = ("at once", "after progress", "after log", "later", "raising", "tool error")
LATER_SECONDS = 2.0
"""Beyond SSE_AFTER_SECONDS: the answer becomes a stream before the tool says a word."""
SOON_SECONDS = 0.1
"""Where there are no streams, and some servers serve one call at a time."""
RESTRICTED = {"for_readers", "for_async_readers", "for_permitted"}
SPEAKING = {"async_whoami", "through_a_thread", "through_the_loop"}
SURROUNDINGS = {"Accept-Language": "de", "X-Time-Zone": "Asia/Tokyo"}


async def perform(site: Site) -> Tally:
    """Make all the calls on each path, in each era, as a caller of each tenant where there are some."""
    clients = [*itertools.product(site.project.paths, ERAS, site.project.tenants or [""])]
    return Tally.sum(await asyncio.gather(*(_client(site, *client) for client in clients)))


async def _client(site: Site, path: str, era: str, tenant: str) -> Tally:
    tally = Tally(f"{path} {era} {tenant}".rstrip())
    try:
        await _perform(tally, site, path, era, tenant)
    except* MCPError as errors:
        tally.note("the client", repr(errors.exceptions), "answers")
    return tally


async def _perform(tally: Tally, site: Site, path: str, era: str, tenant: str) -> None:
    headers = SURROUNDINGS if site.project.localized else {}
    async with caller(site, path, era, headers=headers, tenant=tenant) as me:
        await _kinds(tally, site, me, works_of(site), WHENS)
        await _lists(tally, site, me, path)
        if site.project.database:
            await _database(tally, site, me, path)
            await _stranger(tally, site, path, era)
        if site.project.localized:
            await _surroundings(tally, me, path)
        if tenant:
            await _tenant(tally, me, tenant)
        if era == LEGACY:
            tally.note("remember", (await me.call("remember", value="tea")).text, "kept")
            tally.note("recall", (await me.call("recall")).text, "tea")
        else:
            tally.note("remember without a session", (await me.call("remember", value="tea")).is_error, True)


def works_of(site: Site) -> tuple[str, ...]:
    """Return what tools can do in a project."""
    return WORKS if site.project.database else WORKS[:1]


async def _kinds(tally: Tally, site: Site, me: Caller, works: Iterable[str], whens: Iterable[str]) -> None:
    """Make calls of every kind of tool, of work and of moment, one beside the other."""
    kinds = [*itertools.product(KINDS, works, whens)]
    await asyncio.gather(*(_kind(tally, site, me, *kind) for kind in kinds))


async def _kind(tally: Tally, site: Site, me: Caller, kind: str, work: str, when: str) -> None:
    name = uuid.uuid4().hex
    seconds = LATER_SECONDS if site.project.streams else SOON_SECONDS
    came = await me.call(f"{kind}_call", work=work, when=when, name=name, seconds=seconds)
    what = f"{kind}, {work}, {when}"
    if when == "raising":
        tally.note(what, (came.is_error, came.protocol_error, FAULT in came.text), (True, "", False))
    elif when == "tool error":
        tally.note(what, (came.is_error, came.protocol_error, REFUSAL in came.text), (True, "", True))
    else:
        right = {"none": "nothing", "read": "1", "write": name}[work]
        progress = [0] if when == "after progress" and site.project.streams else []
        tally.note(what, came, Outcome(text=right, progress=[*map(float, progress)]))
    if when == "after log" and site.project.streams:
        tally.note(f"{what}: what was logged", name in me.logs, True)
    if work == "write":
        await _written(tally, site, me, (kind, when), name)


async def _written(tally: Tally, site: Site, me: Caller, kind: tuple[str, str], name: str) -> None:
    """Look whether a row was kept; Django itself has no transactions around asynchronous functions."""
    fails = kind[1] in ("raising", "tool error")
    if fails and site.project.atomic and kind[0] == "async":
        return
    kept = "false" if fails and site.project.atomic else "true"
    tally.note(f"{kind}: is the row there", (await me.call("exists", name=name)).text, kept)


async def _lists(tally: Tally, site: Site, me: Caller, path: str) -> None:
    """List and read what needs no database."""
    names = {tool.name for tool in (await me.client.list_tools()).tools}
    tally.note("tools/list", {"sync_call", "async_call"} <= names, True)
    if site.project.database:
        seen = RESTRICTED if site.knows_callers(path) else set()
        tally.note("tools/list, what not everybody sees", RESTRICTED & names, seen)
    tally.note("resource", await _read(me, "site://hours"), "9 to 5")
    tally.note("prompt", await _prompt(me, "sync_prompt", topic="tea"), "Speak of tea.")


async def _database(tally: Tally, site: Site, me: Caller, path: str) -> None:
    """Use everything that meets the database otherwise than by a call's arguments."""
    is_known = site.knows_callers(path)
    right = dict.fromkeys(("sync_whoami", "async_whoami"), USER if is_known else "nobody")
    right |= dict.fromkeys(("through_a_thread", "through_the_loop"), "2")
    right |= dict.fromkeys(RESTRICTED if is_known else (), "seen")
    for tool, text in right.items():
        tally.note(tool, await me.call(tool), Outcome(text=text, progress=_said(site, tool)))
    for uri in ("site://groups", f"site://groups/{SEED}"):
        tally.note(uri, await _read(me, uri), SEED)
    tally.note("async_prompt", await _prompt(me, "async_prompt", name=SEED), f"Speak of {SEED}.")
    tally.note("completion", await _completed(me), [SEED])
    for kind in KINDS if site.project.others else ():
        tally.note(f"{kind}_archive", (await me.call(f"{kind}_archive")).text, "2")


async def _stranger(tally: Tally, site: Site, path: str, era: str) -> None:
    """Come without proof of who one is."""
    async with caller(site, path, era, proof=False) as stranger:
        tally.note("a stranger", (await stranger.call("sync_whoami")).text, "nobody")
        for tool in RESTRICTED:
            tally.note(f"a stranger, {tool}", bool((await stranger.call(tool)).protocol_error), True)


def _said(site: Site, tool: str) -> list[float]:
    """Return the progress that one of these tools reports."""
    return [0.0] if site.project.streams and tool in SPEAKING else []


async def _prompt(me: Caller, prompt: str, **arguments: str) -> str:
    try:
        found = await me.client.get_prompt(prompt, arguments)
    except MCPError as error:
        return str(error)
    return str(getattr(found.messages[0].content, "text", ""))


async def _completed(me: Caller) -> Any:
    reference = PromptReference(name="async_prompt")
    try:
        return (await me.client.complete(reference, {"name": "name", "value": SEED[:2]})).completion.values
    except MCPError as error:
        return str(error)


async def _read(me: Caller, uri: str) -> str:
    try:
        return str(getattr((await me.client.read_resource(uri)).contents[0], "text", ""))
    except MCPError as error:
        return str(error)


async def _surroundings(tally: Tally, me: Caller, path: str) -> None:
    """Ask what middleware set; none runs before the mount."""
    right = {
        VIEW: {"language": "de", "time zone": "Asia/Tokyo"},
        MOUNT: {"language": "en", "time zone": "UTC"},
    }
    for kind in KINDS:
        came = await me.call(f"{kind}_surroundings")
        tally.note(f"{kind}_surroundings", came.value, right[path])


async def _tenant(tally: Tally, me: Caller, tenant: str) -> None:
    for kind in KINDS:
        tally.note(f"{kind}_tenant", (await me.call(f"{kind}_tenant")).text, tenant)


async def side_by_side(site: Site, count: int) -> Tally:
    """Make many calls at once, of clients of both eras on each path."""
    paths = site.project.paths
    return Tally.sum(await asyncio.gather(*(_clients(site, path, count // len(paths)) for path in paths)))


async def _clients(site: Site, path: str, count: int) -> Tally:
    tally = Tally(f"{path} side by side")
    kinds = itertools.islice(itertools.cycle(itertools.product(KINDS, works_of(site), WHENS[:3])), count)
    try:
        async with AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(caller(site, path, era)) for era in ERAS]
            await asyncio.gather(
                *(_kind(tally, site, me, *kind) for me, kind in zip(itertools.cycle(callers), kinds, strict=False))
            )
    except* MCPError as errors:
        tally.note("the clients", repr(errors.exceptions), "answers")
    return tally
