"""Every number on the command line has a range, and an error that says which."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, load_command_class

COMMANDS = {
    "mcp_transport": (
        *("mcp_call", "mcp_deploy", "mcp_doctor", "mcp_drain", "mcp_dynamodb"),
        *("mcp_redis_acl", "mcp_sessions", "mcp_tools"),
    ),
    "mcp_transport.contrib.audit": ("mcp_audit",),
    "mcp_transport.contrib.tokens": ("mcp_tokens",),
}
NO_NUMBERS = ("-1e9", "nan", "NaN", "inf", "-inf", "many", "", "1_0x", "0x10", "9" * 5000)

# What the parser is given around an option, and the option, its bounds, and what is just inside them.
RANGES: list[tuple[str, list[str], str, list[str], list[str]]] = [
    ("mcp_drain", [], "--wait", ["0", "0.5", "86400"], ["-1", "-0.1", "1e9", "86401"]),
    ("mcp_drain", [], "--timeout", ["0.1", "86400"], ["0", "-1", "1e9"]),
    ("mcp_call", ["http://h/mcp", "add"], "--deadline", ["0.1", "86400"], ["0", "-1", "1e9"]),
    ("mcp_call", ["http://h/mcp", "add"], "--timeout", ["0.1", "86400"], ["0", "-1", "1e9"]),
    ("mcp_doctor", ["http://h/mcp"], "--idle", ["1", "86400"], ["0", "0.9", "-1", "1e9"]),
    ("mcp_doctor", ["http://h/mcp"], "--expect-nodes", ["0", "3"], ["-1", "1.5", "1e9", "10001"]),
    ("mcp_sessions", ["list"], "--limit", ["1", "100000"], ["0", "-1", "1.5", "100001"]),
    ("mcp_audit", ["prune"], "--older-than-days", ["1", "36500"], ["0", "-1", "1.5", "36501"]),
    ("mcp_tokens", ["create", "ann"], "--expires-in-days", ["1", "36500"], ["0", "-1", "1.5", "36501"]),
]
DEPLOYED = (
    "--port",
    "--min-replicas",
    "--max-replicas",
    "--nodes",
    "--most-nodes",
    "--http-port",
    "--https-port",
    "--haproxy-metrics-port",
    "--cron-replicas",
    "--cpu-percent",
    "--memory-percent",
    "--p95-milliseconds",
    "--reserved-concurrency",
    "--provisioned-concurrency",
)


def parser_of(name: str) -> argparse.ArgumentParser:
    [app] = [app for app, names in COMMANDS.items() if name in names]
    return load_command_class(app, name).create_parser("manage.py", name)


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options of a parser and of its verbs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from options_of(verb)
        else:
            yield action


def read(name: str, before: list[str], option: str, value: str) -> Any:
    parsed = vars(parser_of(name).parse_args([*before, f"{option}={value}"]))
    return parsed[option.removeprefix("--").replace("-", "_")]


@pytest.mark.parametrize(("name", "before", "option", "right", "wrong"), RANGES)
def test_a_number_is_in_its_range(
    name: str, before: list[str], option: str, right: list[str], wrong: list[str]
) -> None:
    for value in right:
        assert read(name, before, option, value) == float(value)
    for value in (*wrong, *NO_NUMBERS):
        with pytest.raises(
            CommandError, match=rf"argument {option}: expected (seconds|a whole number) from "
        ) as refused:
            read(name, before, option, value)
        assert len(str(refused.value)) < 200


@pytest.mark.parametrize("option", DEPLOYED)
def test_what_is_no_number_is_refused_with_words(option: str) -> None:
    for value in (*NO_NUMBERS, "1.5"):
        with pytest.raises(CommandError, match=f"argument {option}: expected a whole number, got "):
            read("mcp_deploy", ["nginx"], option, value)


@pytest.mark.parametrize("name", [name for names in COMMANDS.values() for name in names])
def test_no_number_is_left_without_a_range(name: str) -> None:
    known = {option for command, _, option, _, _ in RANGES if command == name}
    if name == "mcp_deploy":
        known.update(DEPLOYED)
    durations = {"created_after", "created_before"}  # texts such as 15m, which have a test of their own
    options = [action for action in options_of(parser_of(name)) if action.dest not in {"verbosity", *durations}]
    numbers = {
        action.option_strings[0]
        for action in options
        if action.option_strings and (action.type in (int, float) or type(action.default) in (int, float))
    }
    assert numbers <= known
