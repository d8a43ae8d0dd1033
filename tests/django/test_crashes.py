"""Crashes reach those who mend them through `logging`: kind, stack and tool, and neither texts nor arguments."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import django
import pytest
import sentry_sdk
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.utils.log import AdminEmailHandler
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

import mcp_transport
from mcp_transport import Context, completion, logs, prompt, resource, tool
from mcp_transport.exceptions import BackendError
from mcp_transport.redaction import redacted
from tests.support.calls import call
from tests.support.canaries import PLANTED
from tests.support.client import send_sessionless

pytestmark = pytest.mark.usefixtures("declarations")

SECRET: dict[str, Any] = {"text": PLANTED}


class Refused(Exception):
    """One that takes more than a text, and has no room for more."""

    __slots__ = ("code",)

    def __init__(self, code: int, *, text: str) -> None:
        super().__init__(text)
        self.code = code


class Unspeakable(BackendError):
    def __str__(self) -> str:
        raise RuntimeError("it has no text")


class Memory(Transport):
    """Keeps what would be sent to Sentry."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.events: list[dict[str, Any]] = []

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


class Records(logging.Handler):
    """Keeps records as any handler of a project gets them."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    handler, root = Records(), logging.getLogger()
    root.addHandler(handler)
    yield handler.kept
    root.removeHandler(handler)


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


async def crash(serve: Any, method: str, params: dict[str, Any]) -> None:
    declare()
    await send_sessionless(serve(), method, params)


PROMPT = {"ref": {"type": "ref/prompt", "name": "asks"}, "argument": {"name": "text", "value": PLANTED}}
CRASHES: list[tuple[str, dict[str, Any], str, str, dict[str, str]]] = [
    (
        "tools/call",
        {"name": "first_crashes", "arguments": SECRET},
        "ValueError",
        "first_crashes",
        {"tool": "first_crashes"},
    ),
    (
        "tools/call",
        {"name": "second_crashes", "arguments": SECRET},
        "Refused",
        "second_crashes",
        {"tool": "second_crashes"},
    ),
    (
        "tools/call",
        {"name": "crashes_in_a_group", "arguments": SECRET},
        "ExceptionGroup",
        "crashes_in_a_group",
        {"tool": "crashes_in_a_group"},
    ),
    (
        "prompts/get",
        {"name": "asks", "arguments": SECRET},
        "LookupError",
        "asks",
        {"method": "prompts/get", "prompt": "asks"},
    ),
    ("resources/read", {"uri": f"shop://{PLANTED}"}, "LookupError", "reads", {}),
    ("completion/complete", PROMPT, "LookupError", "completes", {"argument": "text"}),
]
every_crash = pytest.mark.parametrize(("method", "params", "kind", "function", "extra"), CRASHES)


def functions(trace: TracebackType | None) -> list[str]:
    return [frame.f_code.co_name for frame, _ in traceback.walk_tb(trace)]


@every_crash
async def test_crash_is_logged_with_its_kind_and_stack_and_without_what_it_says(
    method: str, params: Any, kind: str, function: str, extra: Any, serve: Any, records: Any
) -> None:
    await crash(serve, method, params)
    [record] = [record for record in records if record.exc_info]
    error_kind, error, trace = record.exc_info
    assert (error_kind.__name__, type(error)) == (kind, error_kind)
    assert function in functions(trace)
    assert [frame.f_locals for frame, _ in traceback.walk_tb(trace) if frame.f_locals] == []
    assert record.getMessage().endswith(f": {kind}")
    assert {name: getattr(record, name) for name in extra} == extra
    assert PLANTED not in "".join(traceback.format_exception(error)) + record.getMessage()


@every_crash
async def test_sentry_gets_exception_and_frames_and_no_argument(
    method: str, params: Any, kind: str, function: str, extra: Any, serve: Any, sentry: Any
) -> None:
    await crash(serve, method, params)
    [event] = sentry
    exceptions = event["exception"]["values"]
    assert kind in [item["type"] for item in exceptions]
    frames = [frame["function"] for item in exceptions for frame in item.get("stacktrace", {}).get("frames", ())]
    assert function in frames
    assert PLANTED not in json.dumps(event, default=str)
    assert event["extra"].items() >= extra.items()


IN_A_PROCESS = """
import asyncio, json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.settings"
import django
import sentry_sdk
from sentry_sdk.integrations.mcp import MCPIntegration

django.setup()
from django.core.asgi import get_asgi_application
from mcp_transport import tool
from tests.django.test_crashes import Memory

@tool
def crashes(text: str) -> int:
    return int(text)

transport = Memory()
sentry_sdk.init("http://key@127.0.0.1:1/1", transport=transport, disabled_integrations=[MCPIntegration()])
meta = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
params = {"name": "crashes", "arguments": {"text": sys.argv[1]}, "_meta": meta}
body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
headers = {
    "host": "localhost",
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "crashes",
}
messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

async def receive():
    return messages.pop() if messages else await asyncio.Event().wait()

async def send(message):
    pass

scope = {"type": "http", "method": "POST", "path": "/mcp", "query_string": b"", "server": ("localhost", 80)}
scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
asyncio.run(get_asgi_application()(scope, receive, send))
print(json.dumps(transport.events, default=str))
"""


@pytest.mark.slow
def test_sentry_with_all_that_it_does_for_django_gets_no_argument() -> None:
    words = [sys.executable, "-c", IN_A_PROCESS, PLANTED]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    [event] = json.loads(done.stdout)
    assert event["exception"]["values"][-1]["type"] == "ValueError"
    assert "crashes" in [frame["function"] for frame in event["exception"]["values"][-1]["stacktrace"]["frames"]]
    assert event["request"]["url"].endswith("/mcp")
    event["extra"].pop("sys.argv", None)  # which names it here
    assert PLANTED not in json.dumps(event)


async def test_sentry_tells_two_tools_apart(serve: Any, sentry: Any) -> None:
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


async def test_admins_get_a_mail_with_the_stack_and_no_argument(serve: Any, settings: Any) -> None:
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
    [message] = mail.outbox
    [(page, _)] = message.alternatives
    assert "the tool 'second_crashes' raised an unexpected exception: Refused" in message.subject
    for text in (str(message.body), str(page)):
        assert "Refused" in text
        assert "second_crashes" in text
        assert PLANTED not in text


async def test_texts_and_variables_come_where_they_are_wanted(serve: Any, settings: Any, records: Any) -> None:
    settings.MCP_TRANSPORT = {"LOG_EXCEPTION_TEXTS": True}
    declare()
    await call(serve(), "first_crashes", {"text": "harmless"})
    [record] = [record for record in records if record.exc_info]
    assert "'harmless'" in str(record.exc_info[1])
    assert {"text": "harmless"} in [frame.f_locals for frame, _ in traceback.walk_tb(record.exc_info[2])]


async def test_what_a_tool_says_on_purpose_is_no_crash(serve: Any, records: Any) -> None:
    @tool
    def refuses(text: str) -> str:
        raise ToolError(text)

    await call(serve(), "refuses", SECRET)
    [record] = [record for record in records if "refuses" in record.getMessage()]
    assert (record.levelname, record.tool, record.exc_info) == ("INFO", "refuses", None)
    assert record.getMessage() == "the tool 'refuses' failed: '(text withheld)'"


async def test_tools_of_another_server_are_named_too(
    serve: Any, settings: Any, records: Any, monkeypatch: Any
) -> None:
    server: MCPServer[Any] = MCPServer("theirs")
    monkeypatch.setattr(sys.modules[__name__], "theirs", server, raising=False)

    @server.tool()
    def crashes(text: str) -> int:
        return int(text)

    settings.MCP_TRANSPORT = {"SERVER": f"{__name__}.theirs"}
    await call(serve(), "crashes", SECRET)
    [record] = [record for record in records if record.exc_info]
    assert (record.exc_info[0].__name__, record.tool) == ("ValueError", "crashes")


# -- stand-ins -------------------------------------------------------------------------------------------


def _misspell() -> None:
    compile(f"{PLANTED} (", "<example>", "exec")


def _decode() -> None:
    PLANTED.encode("utf-16").decode("ascii")


def _refuse() -> None:
    raise Refused(1, text=PLANTED)


def _say_nothing() -> None:
    raise Unspeakable(PLANTED)


def _leave() -> None:
    sys.exit(PLANTED)


def _look_up() -> None:
    raise KeyError(PLANTED)


def _recur() -> None:
    _recur()


def _gather() -> None:
    raise BaseExceptionGroup(PLANTED, [KeyboardInterrupt(PLANTED), ExceptionGroup(PLANTED, [OSError(2, PLANTED)])])


@pytest.mark.parametrize(
    "fail",
    [_misspell, _decode, _refuse, _say_nothing, _leave, _look_up, _recur, _gather],
    ids=lambda fail: fail.__name__,
)
def test_stand_in_has_kind_and_stack_of_any_exception(fail: Callable[[], None]) -> None:
    try:
        fail()
    except BaseException as error:
        stand_in = redacted(error)
        kind, shown = type(error), type(stand_in)
        assert (shown.__name__, shown.__qualname__, shown.__module__) == (
            kind.__name__,
            kind.__qualname__,
            kind.__module__,
        )
        places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        assert [
            (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(stand_in.__traceback__)
        ] == places
        assert functions(stand_in.__traceback__) == functions(error.__traceback__)
        assert isinstance(stand_in, Exception) == isinstance(error, Exception)
        written = "".join(traceback.format_exception(stand_in))
        assert PLANTED not in written
        assert "(text withheld)" in written


def test_stand_in_keeps_the_chain_even_where_it_is_a_circle() -> None:
    first, second = ValueError(PLANTED), TypeError(PLANTED)
    first.__cause__, second.__context__ = second, first
    stand_in = redacted(first)
    assert type(stand_in.__cause__).__name__ == "TypeError"
    assert stand_in.__cause__ is not None
    assert stand_in.__cause__.__context__ is stand_in


@pytest.mark.parametrize("kind", [BackendError, ImproperlyConfigured])
def test_texts_of_this_package_are_never_withheld(kind: type[Exception]) -> None:
    namespace = {"__name__": "mcp_transport.somewhere", "kind": kind}
    try:
        try:
            int(PLANTED)
        except ValueError:
            exec("raise kind('set RESOURCE_URL')", namespace)  # noqa: S102
    except Exception as error:
        written = "".join(traceback.format_exception(redacted(error)))
        assert "set RESOURCE_URL" in written
        assert PLANTED not in written


def test_what_a_project_finds_improperly_configured_is_withheld() -> None:
    try:
        raise ImproperlyConfigured(PLANTED)
    except ImproperlyConfigured as error:
        assert str(redacted(error)) == "(text withheld)"


def test_each_logger_of_exceptions_is_watched() -> None:
    package = Path(str(mcp_transport.__file__)).parent
    writers = {
        ".".join(("mcp_transport", *path.relative_to(package).with_suffix("").parts))
        for path in package.rglob("*.py")
        if re.search(r"logger\.exception\(|exc_info=", path.read_text())
    }
    assert writers
    assert writers <= set(logs._LOGGERS)
