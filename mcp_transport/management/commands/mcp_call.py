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
from mcp_transport.management.argument_types import add_seconds, seconds
from mcp_transport.management.elicitation import ElicitationPrompt
from mcp_transport.management.terminal import Terminal, log_lines, write_result
from mcp_transport.management.tool_arguments import add_tool_arguments, tool_arguments
from mcp_transport.management.tool_text import result_lines, tool_lines

__all__ = ["Command"]

_TOKEN: Final = "MCP_CALL_TOKEN"  # noqa: S105 (the name of the variable)
# The SDK reads as many pages of tools.
_MAX_PAGES: Final = 100
# Shorter values are not hidden: they would match other text.
_MIN_SECRET_CHARACTERS: Final = 8
_MAX_ERROR_CHARACTERS: Final = 300
# The exit statuses, besides 0 and Python's own.
_TOOL_ERROR, _USAGE, _REFUSED, _UNAVAILABLE, _UNKNOWN, _INTERRUPTED = 1, 2, 3, 4, 5, 130


class Command(BaseCommand):
    """Needs neither a server in this project nor a database."""

    help = (
        "Call a tool of an MCP server, or list its tools. The exit status is 1 when the tool reports an error, "
        "3 when the server refuses, 4 when no endpoint is available, 5 when the result is unknown."
    )
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Allow options between the arguments: `URL TOOL --json key=value`."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        setattr(parser, "parse_args", parser.parse_intermixed_args)  # noqa: B010 (mypy forbids assignment to a method)
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", metavar="URL[,URL...]", help="endpoints of one server, the preferred one first")
        parser.add_argument("tool", nargs="?", default="", help="the tool to call")
        add_tool_arguments(parser)
        parser.add_argument("--list", action="store_true", help="list the tools with their arguments instead")
        parser.add_argument("--json", action="store_true", help="print the whole result, or all tools, as JSON")
        parser.add_argument("--token", default="", help=f"a bearer token; preferably in the environment, as {_TOKEN}")
        parser.add_argument(
            "--header", action="append", default=[], metavar="NAME: VALUE", help="a header; may be repeated"
        )
        parser.add_argument(
            "--choice",
            choices=("ordered", "fastest"),
            default="ordered",
            help="how the next endpoint is chosen when one fails",
        )
        add_seconds(parser, "--deadline", 0.1, 30.0, "seconds within which an endpoint must start to respond")
        parser.add_argument(
            "--timeout", type=seconds(0.1), help="seconds after which the call is cancelled (default: none)"
        )

    def handle(self, *args: Any, tool: str, **options: Any) -> None:
        if bool(tool) == options["list"]:
            raise _usage_error("Name a tool to call, or use --list without one.")
        arguments = tool_arguments(options["pairs"], options["arguments"])
        headers = _headers(options["token"] or os.environ.get(_TOKEN, ""), options["header"])
        urls = _urls(options["url"])
        call = _Call(urls, headers, Terminal(self.stderr, _secrets(urls, headers)), options)
        try:
            with log_lines(call.terminal, options["verbosity"]), call.explain_errors():
                answer = asyncio.run(call.tools() if options["list"] else call.result(tool, arguments))
        except KeyboardInterrupt:
            call.terminal.say("Interrupted.")
            sys.exit(_INTERRUPTED)
        lines = tool_lines(answer["tools"]) if options["list"] else result_lines(answer)
        write_result(self.stdout, options, answer, map(call.terminal.safe, lines))
        if answer.get("isError"):
            raise CommandError(call.terminal.safe(f"The tool {tool!r} reported an error."), returncode=_TOOL_ERROR)


class _Call:
    """One connection to a server."""

    def __init__(self, urls: list[str], headers: dict[str, str], terminal: Terminal, options: dict[str, Any]) -> None:
        self._urls, self._headers, self.terminal, self._options = urls, headers, terminal, options

    async def tools(self) -> dict[str, Any]:
        """Return all tools."""
        tools, cursor = [], None
        async with self._client() as client:
            for _ in range(_MAX_PAGES):
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
        """Build a client. Raises: CommandError, for an invalid URL."""
        deadline = min(self._options["deadline"], self._options["timeout"] or self._options["deadline"])
        verbosity = self._options["verbosity"]
        try:
            return Client(
                self._urls,
                headers=self._headers,
                choice=self._options["choice"],
                deadline=deadline,
                elicitation_callback=ElicitationPrompt(self.terminal).answer,
                logging_callback=self._message if verbosity > 1 else None,
                log_level={0: None, 1: None, 2: "info"}.get(verbosity, "debug"),
            )
        except ValueError as error:
            raise _usage_error(self.terminal.safe(error)) from error

    async def _progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.terminal.progress(progress, total, message)

    async def _message(self, params: Any) -> None:
        data = params.data if isinstance(params.data, str) else json.dumps(params.data, ensure_ascii=False)
        self.terminal.say(f"{params.level}: {data}")

    @contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Turn an exception of a call into a message and an exit status. Raises: CommandError."""
        try:
            yield
        except Exception as error:
            if (explanation := self._explanation(error)) is None:
                raise
            if isinstance(error, MCPError):
                self._say_urls(error.data)
            text, status = self.terminal.safe(explanation[0]), explanation[1]
            raise CommandError(f"{text[:1].upper()}{text[1:]}.", returncode=status) from error

    def _say_urls(self, data: object) -> None:
        """Print the URLs to visit before the call is repeated (2025-11-25, URLElicitationRequiredError)."""
        elicitations = data.get("elicitations") if isinstance(data, dict) else None
        for item in elicitations if isinstance(elicitations, list) else ():
            if isinstance(item, dict):
                self.terminal.say(f"Visit this URL first, if you trust the server:\n  {item.get('url')}")

    def _explanation(self, error: Exception) -> tuple[str, int] | None:
        match error:
            case EndpointsUnavailable():
                return str(error), _UNAVAILABLE
            case ResultUnknown():
                advice = "it is safe to call again" if error.retryable else "check what it did before you call again"
                return f"{error}; {advice}", _UNKNOWN
            case TimeoutError():
                timeout = self._options["timeout"]
                return f"no result within {timeout:g} s: the call was cancelled, and may have run", _UNKNOWN
            case MCPError():
                return f"the server refused: {error.message}", _REFUSED
            case ValueError() | RuntimeError():  # the SDK raises them for results that violate the schemas
                return f"the server's response cannot be used: {_short(error)}", _REFUSED
        return None


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _MAX_ERROR_CHARACTERS else f"{text[:_MAX_ERROR_CHARACTERS]}…"


def _urls(text: str) -> list[str]:
    """Split the URLs. Raises: CommandError for credentials, which other users could read in the process list."""
    urls = [url.strip() for url in text.split(",")]
    if any(re.match("[^/?#]*//[^/?#]*@", url) for url in urls):
        raise _usage_error("A URL must not contain credentials: pass a token with --token, others with --header.")
    return urls


def _headers(token: str, lines: list[str]) -> dict[str, str]:
    """Return the headers of each request. Raises: CommandError, which quotes no value."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise _usage_error("--token: expected visible ASCII")
    for line in lines:
        name, separator, value = line.partition(":")
        is_name = bool(name) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not (separator and is_name and value.isascii() and value.isprintable()):
            raise _usage_error("--header: expected 'Name: value' in visible ASCII")
        headers[name] = value.strip()
    return headers


def _secrets(urls: list[str], headers: dict[str, str]) -> list[str]:
    """Return the texts to hide: query strings of URLs, values of headers, and tokens in them."""
    values = [*headers.values(), *(value.rpartition(" ")[2] for value in headers.values())]
    values += [url.partition("?")[2] for url in urls]
    return [value for value in values if len(value) >= _MIN_SECRET_CHARACTERS]


def _usage_error(text: str) -> CommandError:
    return CommandError(text, returncode=_USAGE)
