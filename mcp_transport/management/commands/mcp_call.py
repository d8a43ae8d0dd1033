"""`manage.py mcp_call URL TOOL key=value ...`: call a tool of any MCP server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport.client import Client, EndpointsUnavailable, ResultUnknown
from mcp_transport.kernel import MCPError
from mcp_transport.management.argument_types import seconds
from mcp_transport.management.elicitation import Questions
from mcp_transport.management.terminal import Terminal, log_lines
from mcp_transport.management.tool_arguments import add_tool_arguments, tool_arguments
from mcp_transport.management.tool_text import result_lines, tool_lines

__all__ = ["Command"]

_TOKEN: Final = "MCP_CALL_TOKEN"  # noqa: S105 (the name of the variable)
# Pages of tools, as many as the SDK reads.
_MOST_PAGES: Final = 100
# What is shorter is no secret, and hiding it would hide much else.
_SHORTEST_SECRET: Final = 8
_MOST_SHOWN: Final = 300
# The exit statuses, besides 0 and Python's own.
_TOOL_ERROR, _USAGE, _REFUSED, _UNAVAILABLE, _UNKNOWN, _INTERRUPTED = 1, 2, 3, 4, 5, 130


class Command(BaseCommand):
    """Needs no server in this project, and no database."""

    help = (
        "Call a tool of an MCP server, or list its tools. The exit status is 1 when the tool reports an error, "
        "3 when the server refuses, 4 when no endpoint can be had, 5 when the result cannot be known."
    )
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Let options stand among the arguments: `URL TOOL --json key=value`."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        setattr(parser, "parse_args", parser.parse_intermixed_args)  # noqa: B010 (mypy lets nobody assign to a method)
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", metavar="URL[,URL...]", help="endpoints of one server, the preferred one first")
        parser.add_argument("tool", nargs="?", default="", help="the tool to call")
        add_tool_arguments(parser)
        parser.add_argument("--list", action="store_true", help="list the tools with their arguments instead")
        parser.add_argument("--json", action="store_true", help="print the whole result, or all tools, as JSON")
        parser.add_argument("--token", default="", help=f"a bearer token; better in the environment, as {_TOKEN}")
        parser.add_argument(
            "--header", action="append", default=[], metavar="NAME: VALUE", help="a header; may be repeated"
        )
        parser.add_argument(
            "--choice",
            choices=("ordered", "fastest"),
            default="ordered",
            help="which endpoint is next when one fails",
        )
        parser.add_argument(
            "--deadline",
            type=seconds(0.1),
            default=30.0,
            help="seconds within which an endpoint must begin to answer (default %(default)s)",
        )
        parser.add_argument(
            "--timeout", type=seconds(0.1), help="seconds after which the call is cancelled (default: none)"
        )

    def handle(self, *args: Any, tool: str, **options: Any) -> None:
        if bool(tool) == options["list"]:
            raise _wrong("Name a tool to call, or use --list without one.")
        arguments = tool_arguments(options["pairs"], options["arguments"])
        headers = _headers(options["token"] or os.environ.get(_TOKEN, ""), options["header"])
        urls = _urls(options["url"])
        call = _Call(urls, headers, Terminal(self.stderr, _secrets(urls, headers)), options)
        try:
            with log_lines(call.terminal, options["verbosity"]), call.explained():
                answer = asyncio.run(call.tools() if options["list"] else call.result(tool, arguments))
        except KeyboardInterrupt:
            call.terminal.say("Interrupted.")
            sys.exit(_INTERRUPTED)
        if options["json"]:
            self.stdout.write(json.dumps(answer, indent=2))
        else:
            for line in tool_lines(answer["tools"]) if options["list"] else result_lines(answer):
                self.stdout.write(call.terminal.safe(line))
        if answer.get("isError"):
            raise CommandError(call.terminal.safe(f"The tool {tool!r} reported an error."), returncode=_TOOL_ERROR)


class _Call:
    """One use of a server."""

    def __init__(self, urls: list[str], headers: dict[str, str], terminal: Terminal, options: dict[str, Any]) -> None:
        self._urls, self._headers, self.terminal, self._options = urls, headers, terminal, options

    async def tools(self) -> dict[str, Any]:
        """Return all tools."""
        tools, cursor = [], None
        async with self._client() as client:
            for _ in range(_MOST_PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in page.tools]
                cursor = page.next_cursor
                if not cursor:
                    break
        return {"tools": tools}

    async def result(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool; return its result."""
        async with self._client() as client:
            try:
                async with asyncio.timeout(self._options["timeout"]):
                    result = await client.call_tool(tool, arguments, progress_callback=self._progress)
            finally:
                self.terminal.clear()
            return result.model_dump(by_alias=True, mode="json", exclude_none=True)

    def _client(self) -> Client:
        """Make a client. Raises: CommandError, where a URL cannot be meant."""
        deadline = min(self._options["deadline"], self._options["timeout"] or self._options["deadline"])
        verbosity = self._options["verbosity"]
        try:
            return Client(
                self._urls,
                headers=self._headers,
                choice=self._options["choice"],
                deadline=deadline,
                elicitation_callback=Questions(self.terminal).answer,
                logging_callback=self._message if verbosity > 1 else None,
                log_level={0: None, 1: None, 2: "info"}.get(verbosity, "debug"),
            )
        except ValueError as error:
            raise _wrong(self.terminal.safe(error)) from error

    async def _progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.terminal.progress(progress, total, message)

    async def _message(self, params: Any) -> None:
        data = params.data if isinstance(params.data, str) else json.dumps(params.data, ensure_ascii=False)
        self.terminal.say(f"{params.level}: {data}")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what a call ends with into a sentence and an exit status. Raises: CommandError."""
        try:
            yield
        except Exception as error:
            if (explanation := self._explanation(error)) is None:
                raise
            if isinstance(error, MCPError):
                self._say_addresses(error.data)
            words, status = self.terminal.safe(explanation[0]), explanation[1]
            raise CommandError(f"{words[:1].upper()}{words[1:]}.", returncode=status) from error

    def _say_addresses(self, data: object) -> None:
        """Say what the user has to visit before the call is repeated (2025-11-25, URLElicitationRequiredError)."""
        listed = data.get("elicitations") if isinstance(data, dict) else None
        for question in listed if isinstance(listed, list) else ():
            if isinstance(question, dict):
                self.terminal.say(f"Visit this address first, if you trust the server:\n  {question.get('url')}")

    def _explanation(self, error: Exception) -> tuple[str, int] | None:
        match error:
            case EndpointsUnavailable():
                return str(error), _UNAVAILABLE
            case ResultUnknown():
                advice = "it is safe to call again" if error.retryable else "look what it did before you call again"
                return f"{error}; {advice}", _UNKNOWN
            case TimeoutError():
                seconds_given = self._options["timeout"]
                return f"no result within {seconds_given:g} s: the call was cancelled, and may have run", _UNKNOWN
            case MCPError():
                return f"the server refused: {error.message}", _REFUSED
            case ValueError() | RuntimeError():  # what the SDK raises for results that break the schemas
                return f"the server's answer cannot be used: {_short(error)}", _REFUSED
        return None


def _short(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= _MOST_SHOWN else f"{words[:_MOST_SHOWN]}…"


def _urls(text: str) -> list[str]:
    """Return the URLs. Raises: CommandError for one with credentials, which other users could read."""
    urls = [url.strip() for url in text.split(",")]
    if any(re.match("[^/?#]*//[^/?#]*@", url) for url in urls):
        raise _wrong("A URL must have no credentials: a token belongs to --token, others to --header.")
    return urls


def _headers(token: str, lines: list[str]) -> dict[str, str]:
    """Return the headers of each request. Raises: CommandError, which repeats no value."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise _wrong("--token: expected visible ASCII")
    for line in lines:
        name, separator, value = line.partition(":")
        is_name = bool(name) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not (separator and is_name and value.isascii() and value.isprintable()):
            raise _wrong("--header: expected 'Name: value' in visible ASCII")
        headers[name] = value.strip()
    return headers


def _secrets(urls: list[str], headers: dict[str, str]) -> list[str]:
    """Return what must not be shown: queries of URLs, values of headers, and tokens in them."""
    values = [*headers.values(), *(value.rpartition(" ")[2] for value in headers.values())]
    values += [url.partition("?")[2] for url in urls]
    return [value for value in values if len(value) >= _SHORTEST_SECRET]


def _wrong(words: str) -> CommandError:
    return CommandError(words, returncode=_USAGE)
