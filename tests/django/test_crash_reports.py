"""Crashes reach those who mend them through `logging`: kind, stack and tool, and neither texts nor arguments."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import django
import pytest
import sentry_sdk
from django.core import mail
from django.utils.log import AdminEmailHandler
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

from mcp_transport import Context, completion, prompt, resource, tool
from tests.django.raised import crash_in
from tests.django.test_redacted_exceptions import Refused
from tests.support.calls import call
from tests.support.canaries import PLANTED
from tests.support.client import send_sessionless
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

SECRET: dict[str, Any] = {"text": PLANTED}


class Memory(Transport):
    """Keeps what would be sent to Sentry."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        if (event := envelope.get_event()) is not None:
            self.events.append(event)


@pytest.fixture
def sentry() -> Iterator[list[dict[str, Any]]]:
    """The events that Sentry gets, without a network."""
    transport = Memory()
    sentry_sdk.init(
        "http://key@127.0.0.1:1/1",
        transport=transport,
        include_local_variables=True,
        # Others patch what the rest of the run uses; a process of their own has them all.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration()],
    )
    yield transport.events
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


def declare() -> None:
    @tool
    def first_crashes(text: str) -> int:
        return int(text)

    @tool
    async def second_crashes(text: str, ctx: Context) -> int:
        try:
            return int(text)
        except ValueError as error:
            error.add_note(text)
            raise Refused(7, text=text) from error

    @tool
    async def crashes_in_a_group(text: str) -> str:
        async def fail() -> None:
            raise KeyError(text)

        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
        return text

    @prompt
    def asks(text: str) -> str:
        raise LookupError(text)

    @resource("shop://{text}")
    def reads(text: str) -> str:
        raise LookupError(text)

    @completion
    async def completes(ref: Any, argument: Any, context: Any) -> Any:
        raise LookupError(argument.value)


PROMPT = {"ref": {"type": "ref/prompt", "name": "asks"}, "argument": {"name": "text", "value": PLANTED}}


class Crash(NamedTuple):
    """What is asked for; the exception, the function that raised it, and what is said besides."""

    method: str
    params: dict[str, Any]
    kind: str
    function: str
    extra: dict[str, str]


def of_tool(name: str, kind: str) -> Crash:
    return Crash("tools/call", {"name": name, "arguments": SECRET}, kind, name, {"tool": name})


CRASHES = [
    of_tool("first_crashes", "ValueError"),
    of_tool("second_crashes", "Refused"),
    of_tool("crashes_in_a_group", "ExceptionGroup"),
    Crash(
        "prompts/get",
        {"name": "asks", "arguments": SECRET},
        "LookupError",
        "asks",
        {"method": "prompts/get", "prompt": "asks"},
    ),
    Crash("resources/read", {"uri": f"shop://{PLANTED}"}, "LookupError", "reads", {}),
    Crash("completion/complete", PROMPT, "LookupError", "completes", {"argument": "text"}),
]


@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: str(crash.function))
async def test_log_and_sentry_get_kind_and_stack_of_a_crash_and_neither_text_nor_argument(
    crash: Crash, serve: Serve, sentry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    declare()
    await send_sessionless(serve(), crash.method, crash.params)
    record = crash_in(caplog)
    error_kind, error, trace = record.exc_info  # type: ignore[misc]
    frames = [frame for frame, _ in traceback.walk_tb(trace)]
    assert error_kind is type(error) and error_kind.__name__ == crash.kind
    assert crash.function in [frame.f_code.co_name for frame in frames]
    assert not any(frame.f_locals for frame in frames)
    assert f": {crash.kind} request=1" in record.getMessage()
    assert vars(record).items() >= crash.extra.items()
    assert PLANTED not in "".join(traceback.format_exception(error)) + record.getMessage()

    [event] = sentry
    exceptions = event["exception"]["values"]
    assert crash.kind in [item["type"] for item in exceptions]
    stacks = [item.get("stacktrace", {}).get("frames", ()) for item in exceptions]
    assert crash.function in [frame["function"] for stack in stacks for frame in stack]
    assert PLANTED not in json.dumps(event, default=str)
    assert event["extra"].items() >= crash.extra.items()


IN_A_PROCESS = """
import asyncio, json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.settings"
import django
import sentry_sdk
from sentry_sdk.integrations.mcp import MCPIntegration

django.setup()
from django.core.asgi import get_asgi_application
from mcp_transport import tool
from tests.django.test_crash_reports import Memory
from tests.support.http.inprocess import Direct
from tests.support.http.messages import call

@tool
def crashes(text: str) -> int:
    return int(text)

transport = Memory()
sentry_sdk.init("http://key@127.0.0.1:1/1", transport=transport, disabled_integrations=[MCPIntegration()])

async def ask():
    carrier = Direct(get_asgi_application())
    await (await carrier.send(call("crashes", text=sys.argv[1]))).read()
    await carrier.close()

asyncio.run(ask())
print(json.dumps(transport.events, default=str))
"""


@pytest.mark.slow
def test_sentry_with_all_that_it_does_for_django_gets_no_argument() -> None:
    arguments = [sys.executable, "-c", IN_A_PROCESS, PLANTED]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    [event] = json.loads(done.stdout)
    assert event["exception"]["values"][-1]["type"] == "ValueError"
    assert "crashes" in [frame["function"] for frame in event["exception"]["values"][-1]["stacktrace"]["frames"]]
    assert event["request"]["url"].endswith("/mcp")
    event["extra"].pop("sys.argv", None)  # which names it here
    assert PLANTED not in json.dumps(event)


async def test_sentry_tells_two_tools_apart(serve: Serve, sentry: Any) -> None:
    declare()
    for name in ("first_crashes", "second_crashes", "first_crashes"):
        await call(serve(), name, SECRET)
    one, other, again = [
        (
            event["logentry"]["formatted"],
            [(item["type"], item["module"]) for item in event["exception"]["values"]],
            [frame["function"] for item in event["exception"]["values"] for frame in item["stacktrace"]["frames"]],
        )
        for event in sentry
    ]
    assert one == again
    assert all(first != second for first, second in zip(one, other, strict=True))


async def test_admins_get_a_mail_with_the_stack_and_no_argument(serve: Serve, settings: Any) -> None:
    settings.ADMINS = ["ann@example.com"] if django.VERSION >= (6,) else [("Ann", "ann@example.com")]
    backend = "django.core.mail.backends.locmem.EmailBackend"
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": backend}}
    else:
        settings.EMAIL_BACKEND = backend
    mail.outbox = []
    handler = AdminEmailHandler(include_html=True)
    handler.setLevel(logging.ERROR)
    logger = logging.getLogger("mcp_transport")
    logger.addHandler(handler)
    try:
        declare()
        await call(serve(), "second_crashes", SECRET)
    finally:
        logger.removeHandler(handler)
    message: Any
    [message] = mail.outbox
    [(page, _)] = message.alternatives
    assert "the tool 'second_crashes' raised an unexpected exception: Refused" in message.subject
    for text in (str(message.body), str(page)):
        assert "Refused" in text
        assert "second_crashes" in text
        assert PLANTED not in text


async def test_texts_and_variables_come_where_they_are_wanted(
    serve: Serve, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCP_TRANSPORT = {"LOG_EXCEPTION_TEXTS": True}
    declare()
    await call(serve(), "first_crashes", {"text": "harmless"})
    _, error, trace = crash_in(caplog).exc_info  # type: ignore[misc]
    assert "'harmless'" in str(error)
    assert {"text": "harmless"} in [frame.f_locals for frame, _ in traceback.walk_tb(trace)]


async def test_what_a_tool_says_on_purpose_is_no_crash(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    @tool
    def refuses(text: str) -> str:
        raise ToolError(text)

    await call(serve(), "refuses", SECRET)
    [record] = [record for record in caplog.records if "'refuses'" in record.getMessage()]
    assert (record.levelname, vars(record)["tool"], record.exc_info) == ("INFO", "refuses", None)
    assert record.getMessage() == "the tool 'refuses' failed: '(text withheld)' request=1 tool=refuses"


async def test_tools_of_another_server_are_named_too(
    serve: Serve, settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: MCPServer[Any] = MCPServer("theirs")
    server.tool(name="crashes")(lambda text: int(text))
    monkeypatch.setattr(sys.modules[__name__], "theirs", server, raising=False)
    settings.MCP_TRANSPORT = {"SERVER": f"{__name__}.theirs"}
    await call(serve(), "crashes", SECRET)
    record = crash_in(caplog)
    assert record.getMessage().endswith(": ValueError request=1 tool=crashes") and vars(record)["tool"] == "crashes"
