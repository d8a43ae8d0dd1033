"""The tools, resources and prompts that all projects serve; what needs a database is declared where there is one."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone, translation
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import Completion

from mcp_transport import Context, completion, prompt, resource, tool
from mcp_transport.domain.principal import Principal
from tests.projects.constants import FAULT, REFUSAL, SEED

Work = Literal["none", "read", "write"]
When = Literal["at once", "after progress", "after log", "later", "raising", "tool error"]


class Running:
    """Knows the calls that are at work in this process, and those that ever began."""

    count = 0
    begun: ClassVar[list[str]] = []

    @classmethod
    @contextmanager
    def call(cls, name: str) -> Iterator[None]:
        cls.count += 1
        cls.begun.append(name)
        try:
            yield
        finally:
            cls.count -= 1


def _groups() -> Any:
    from django.contrib.auth.models import Group  # a project without a database does not install it

    return Group.objects


def _do(work: Work, name: str) -> str:
    match work:
        case "none":
            return "nothing"
        case "read":
            return str(_groups().filter(name=SEED).count())
        case "write":
            return str(_groups().create(name=name).name)


async def _ado(work: Work, name: str) -> str:
    match work:
        case "none":
            return "nothing"
        case "read":
            return str(await _groups().filter(name=SEED).acount())
        case "write":
            return str((await _groups().acreate(name=name)).name)


def _fail(when: When) -> None:
    if when == "raising":
        raise LookupError(FAULT)
    if when == "tool error":
        raise ToolError(REFUSAL)


# -- tools that need no database ---------------------------------------------------------------------


def sync_call(work: Work, when: When, name: str, seconds: float, ctx: Context) -> str:
    """Work in a thread, before and after what `when` says."""
    with Running.call(name):
        if work != "none":
            _do("read", name)
        match when:
            case "after progress":
                async_to_sync(ctx.report_progress)(0, 1)
            case "after log":
                async_to_sync(ctx.info)(name)
            case "later":
                time.sleep(seconds)
        done = _do(work, name)
        _fail(when)
        return done


async def async_call(work: Work, when: When, name: str, seconds: float, ctx: Context) -> str:
    """Work on the event loop, before and after what `when` says."""
    with Running.call(name):
        if work != "none":
            await _ado("read", name)
        match when:
            case "after progress":
                await ctx.report_progress(0, 1)
            case "after log":
                await ctx.info(name)
            case "later":
                await asyncio.sleep(seconds)
        done = await _ado(work, name)
        _fail(when)
        return done


def _surroundings() -> dict[str, str]:
    return {"language": translation.get_language() or "", "time zone": timezone.get_current_timezone_name()}


def sync_surroundings() -> dict[str, str]:
    """Tell the language and the time zone."""
    return _surroundings()


async def async_surroundings(ctx: Context) -> dict[str, str]:
    """Tell the language and the time zone, also those of a thread."""
    await ctx.report_progress(0, 1)
    here, there = _surroundings(), await sync_to_async(_surroundings)()
    return here if here == there else {"on the loop": str(here), "in a thread": str(there)}


async def remember(value: str, ctx: Context) -> str:
    """Keep a value in the session."""
    await ctx.session.set("value", value)
    return "kept"


def recall(ctx: Context) -> str:
    """Return the value kept in the session."""
    return str(async_to_sync(ctx.session.get)("value", "nothing"))


def sync_prompt(topic: str) -> str:
    """Begin to speak of a topic."""
    return f"Speak of {topic}."


def hours() -> str:
    """Say when somebody is there."""
    return "9 to 5"


FREE: tuple[Callable[..., Any], ...] = (
    sync_call,
    async_call,
    sync_surroundings,
    async_surroundings,
    remember,
    recall,
)


# -- what needs a database ---------------------------------------------------------------------------


def sync_whoami(ctx: Context) -> str:
    """Return the caller's name."""
    return ctx.user.get_username() or "nobody"


async def async_whoami(ctx: Context) -> str:
    """Return the caller's name, after a word to the client."""
    await ctx.report_progress(0, 1)
    return ctx.user.get_username() or "nobody"


def exists(name: str) -> bool:
    """Tell whether there is a group of this name."""
    return bool(_groups().filter(name=name).exists())


async def through_a_thread(ctx: Context) -> int:
    """Count the seed by `sync_to_async`, before and after a word to the client."""
    count = sync_to_async(_groups().filter(name=SEED).count)
    first = await count()
    await ctx.report_progress(0, 1)
    return int(first + await count())


def through_the_loop(ctx: Context) -> int:
    """Count the seed by `async_to_sync`, before and after a word to the client."""
    count = async_to_sync(_groups().filter(name=SEED).acount)
    first = count()
    async_to_sync(ctx.report_progress)(0, 1)
    return int(first + count())


def for_readers() -> str:
    """Answer those whom a synchronous function of the database lets see it."""
    return "seen"


def for_async_readers() -> str:
    """Answer those whom an asynchronous function of the database lets see it."""
    return "seen"


def for_permitted() -> str:
    """Answer those who have a permission."""
    return "seen"


def _is_somebody(principal: Principal) -> bool:
    return principal.user is not None and bool(principal.user.is_authenticated)


def _sees(principal: Principal) -> bool:
    return _is_somebody(principal) and bool(_groups().filter(name=SEED).exists())


async def _asees(principal: Principal) -> bool:
    return _is_somebody(principal) and bool(await _groups().filter(name=SEED).aexists())


def sync_groups() -> str:
    """Show the seed."""
    return str(_groups().get(name=SEED).name)


async def async_group(name: str, ctx: Context) -> str:
    """Show a group, after a word to the client."""
    await ctx.report_progress(0, 1)
    return str((await _groups().aget(name=name)).name)


async def async_prompt(name: str) -> str:
    """Begin to speak of a group."""
    return f"Speak of {(await _groups().aget(name=name)).name}."


async def complete(ref: Any, argument: Any, context: Any) -> Completion:
    """Complete the name of a group."""
    found = _groups().filter(name__startswith=argument.value, name=SEED)
    return Completion(values=[group.name async for group in found])


OVER_THE_DATABASE: tuple[Callable[..., Any], ...] = (
    sync_whoami,
    async_whoami,
    exists,
    through_a_thread,
    through_the_loop,
)


def declare(*, database: bool = True) -> None:
    """Declare everything, or what needs no database."""
    for function in FREE:
        tool(function)
    prompt(sync_prompt)
    resource("site://hours")(hours)
    if not database:
        return
    for function in OVER_THE_DATABASE:
        tool(function)
    tool(visible=_sees)(for_readers)
    tool(visible=_asees)(for_async_readers)
    tool(permission="auth.view_group")(for_permitted)
    resource("site://groups")(sync_groups)
    resource("site://groups/{name}")(async_group)
    prompt(async_prompt)
    completion(complete)
