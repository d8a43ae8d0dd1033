"""The documentation says what the code does: names, defaults and codes agree, links lead somewhere, examples run."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import tomllib
import typing
from argparse import SUPPRESS, ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path

from django.core.management import load_command_class

from mcp_transport import conf, exceptions, server, validation
from mcp_transport.context import MAX_VALUE_BYTES, MAX_VALUES, Context, SessionState
from mcp_transport.protocol import errors
from tests.support.docs import DOCS, ROOT, blocks, check_ids, table

PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}


def every_block(language: str = "python") -> Iterator[tuple[str, str]]:
    """Yield the blocks in a language, each with the name of its page."""
    for name, text in TEXTS.items():
        for block in blocks(text, language):
            yield name, block


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


# -- settings --------------------------------------------------------------------------------------------


def test_every_setting_is_documented_in_order() -> None:
    assert [row[0] for row in table("reference/settings.md", "Name")] == list(conf.SETTINGS)


def test_settings_are_documented_as_they_are() -> None:
    for name, kind, default, help in table("reference/settings.md", "Name"):
        setting = conf.SETTINGS[name]
        minimum = f", {setting.minimum:g} or more" if setting.minimum is not None else ""
        assert kind == validation.kind_name(setting.kind) + minimum, name
        documented = ast.literal_eval(default)
        assert documented == (list(setting.default) if isinstance(setting.default, tuple) else setting.default), name
        assert help == setting.help, name


def test_settings_that_are_named_exist() -> None:
    unknown = {
        (name, key.value)
        for name, block in every_block()
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        if any(getattr(target, "id", "") == "MCP_TRANSPORT" for target in node.targets)
        for key in node.value.keys
        if isinstance(key, ast.Constant) and key.value not in conf.SETTINGS
    }
    assert not unknown


# -- checks, commands, errors, context ---------------------------------------------------------------------


def test_every_check_is_documented() -> None:
    assert [row[0] for row in table("reference/checks.md", "Id")] == sorted(check_ids())


def test_checks_that_are_named_exist() -> None:
    found = {(name, id) for name, text in TEXTS.items() for id in re.findall(r"mcp_transport\.[EW]\d{3}", text)}
    assert not {(name, id) for name, id in found if id not in check_ids()}


def commands() -> dict[str, set[str]]:
    """Return each command's words: verbs, and their options behind them; or, without verbs, options alone."""
    found = {}
    for path in (ROOT / "mcp_transport").rglob("management/commands/mcp_*.py"):
        app = ".".join(path.relative_to(ROOT).parts[:-3])
        parser = load_command_class(app, path.stem).create_parser("manage.py", path.stem)
        words = set()
        for action in parser._actions:
            if isinstance(action, _SubParsersAction):
                for verb, subparser in action.choices.items():
                    words |= {verb} | {f"{verb} {option}" for option in own_options(subparser)}
        found[path.stem] = words or set(own_options(parser))
    return found


def choices(command: str) -> set[str]:
    """Return what a command's first argument may be, where it has no verbs."""
    (path,) = (ROOT / "mcp_transport").rglob(f"management/commands/{command}.py")
    app = ".".join(path.relative_to(ROOT).parts[:-3])
    actions = load_command_class(app, command).create_parser("manage.py", command)._actions
    return {str(choice) for action in actions if not action.option_strings for choice in action.choices or ()}


def own_options(parser: ArgumentParser) -> set[str]:
    common = {action.dest for action in ArgumentParser()._actions}
    django = {"version", "verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks"}
    return {
        action.option_strings[0]
        for action in parser._actions
        if action.option_strings and action.help != SUPPRESS and action.dest not in common | django
    }


def test_every_command_is_documented_with_every_verb_and_option() -> None:
    text = (DOCS / "reference/commands.md").read_text()
    sections = dict(re.findall(r"^## `manage.py (\w+)`\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    assert set(sections) == set(commands())
    for command, words in commands().items():
        documented = set()
        for row in re.findall(r"^\| `([^`]+)` \|", sections[command], re.M):
            verb, *more = row.split()
            documented |= {verb} | {f"{verb} {option}" for option in more if option.startswith("--")}
        assert documented == words


def test_commands_that_are_shown_exist() -> None:
    known = commands()
    shown = {
        (name, *words)
        for name, text in TEXTS.items()
        for words in re.findall(r"manage\.py (mcp_\w+)(?: ([a-z][a-z-]*)\b(?!:))?", text)
    }
    assert not {item for item in shown if item[1] not in known}
    assert not {item for item in shown if item[2] and item[2] not in known[item[1]] | choices(item[1])}


def test_every_code_is_documented_under_its_name() -> None:
    documented = {name: int(code) for code, name, *_ in table("reference/errors.md", "Code")}
    assert documented == {name: getattr(errors, name) for name in errors.__all__ if name.isupper()}


def test_pinned_statuses_are_documented() -> None:
    statuses = {int(code): status for code, _, status, _ in table("reference/errors.md", "Code")}
    for code, status in errors._SESSIONLESS_STATUS.items():
        assert str(status) in statuses[code]


def test_every_exception_is_documented() -> None:
    documented = {row[0] for row in table("reference/errors.md", r"Exception \| Whose fault")}
    assert documented == set(exceptions.__all__) - {"MCPTransportError"}


def test_every_member_of_the_context_is_documented() -> None:
    text = (DOCS / "reference/context.md").read_text()
    for name in vars(Context):
        if not name.startswith(("_", "model_")):  # the class is a pydantic model
            assert f"`{name}" in text, name
    for name in vars(SessionState):
        if not name.startswith("_"):
            assert f"session.{name}" in text, name


def test_members_of_the_context_that_are_documented_exist() -> None:
    for page, first in (("reference/context.md", "Member"), ("reference/context.md", "Method")):
        text = (DOCS / page).read_text()
        for cell in re.findall(r"^\| ((?:`[^|]*?`,? ?)+)", text, re.M):
            for name in re.findall(r"`(?:await )?(?:session\.)?(\w+)[(`]", cell):
                assert hasattr(Context, name) or hasattr(SessionState, name), (first, name)


def test_limits_of_the_session_are_documented() -> None:
    text = (DOCS / "reference/context.md").read_text()
    assert f"{MAX_VALUE_BYTES} bytes each, {MAX_VALUES} values at most" in text


def test_options_of_the_tool_decorator_are_documented() -> None:
    [_, with_options] = typing.get_overloads(server.tool)
    documented = {name for row in table("howto/declare-tools.md", "Option") for name in re.findall(r"\w+", row[0])}
    assert documented == set(inspect.signature(with_options).parameters)


def test_number_of_checks_in_the_changelog() -> None:
    assert f"{len(table('reference/checks.md', 'Id'))} system checks" in (ROOT / "CHANGELOG.md").read_text()


# -- links -----------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", without_blocks(page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    broken = set()
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text())):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if link.startswith("https://") or (target.exists() and (not anchor or anchor in anchors(target))):
                continue
            broken.add((page.name, link))
    assert not broken


def test_every_page_is_reached_from_the_index() -> None:
    linked = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", (DOCS / "index.md").read_text())}
    assert {page for page in PAGES if page.is_relative_to(DOCS)} - linked == {DOCS / "index.md"}


def test_pages_tell_nothing_of_the_machine_they_were_written_on() -> None:
    assert not [name for name, text in TEXTS.items() if re.search(r"/(tmp|work|root|home)/", text)]


def test_decisions_are_short_and_numbered() -> None:
    decisions = sorted((DOCS / "adr").glob("*.md"))
    for number, page in enumerate(decisions, start=1):
        text = page.read_text()
        assert page.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        assert len(text.splitlines()) <= 15
        assert all(f"**{part}.**" in text for part in ("Status", "Context", "Choice", "Cost"))


def test_the_index_lists_decisions_by_title_and_status() -> None:
    listed = re.findall(r"^- (.+)\]\(adr/(.+)\): (\w+)$", (DOCS / "index.md").read_text(), re.M)
    decisions = sorted((DOCS / "adr").glob("*.md"))
    titles = [page.read_text().partition("\n")[0].removeprefix("# ").replace(". ", ". [", 1) for page in decisions]
    statuses = [re.findall(r"\*\*Status\.\*\* (\w+)", page.read_text())[0].lower() for page in decisions]
    assert listed == list(zip(titles, (page.name for page in decisions), statuses, strict=True))


def test_the_glossary_is_in_alphabetical_order() -> None:
    terms = [row[0].lower() for row in table("reference/glossary.md", "Term")]
    assert terms == sorted(terms)
    assert all("](" in row[1] for row in table("reference/glossary.md", "Term"))


def test_the_architecture_page_is_short_and_names_what_exists() -> None:
    text = (DOCS / "explanation/architecture.md").read_text()
    assert len(text.splitlines()) <= 60
    names = re.findall(r"[\w/]+(?:\.py|\.lua|/(?=`))", re.sub(r"tests/\w+\.py|mcp_transport/|\]\(.*?\)", "", text))
    assert len(names) > 40
    assert [name for name in names if not (ROOT / "mcp_transport" / name).exists()] == []


# -- examples --------------------------------------------------------------------------------------------


def test_blocks_are_opened_and_closed() -> None:
    assert not [page.name for page in PAGES if "```" in without_blocks(page.read_text())]


def test_data_commands_and_programs_can_be_read() -> None:
    for _, block in every_block("json"):
        json.loads(block)
    for _, block in every_block("toml"):
        tomllib.loads(block)
    for name, block in every_block():
        compile(block, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    script = "\n".join(f"read_{number}() {{\n{block}\n}}" for number, (_, block) in enumerate(every_block("sh")))
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)  # noqa: S607
    assert done.returncode == 0, done.stderr


def test_every_configured_client_is_given_the_endpoint() -> None:
    text, servers = (DOCS / "howto/connect-clients.md").read_text(), []
    for block in [*map(json.loads, blocks(text, "json")), *map(tomllib.loads, blocks(text, "toml"))]:
        [listed] = [block[name] for name in ("mcpServers", "mcp_servers", "servers", "mcp") if name in block]
        listed = listed.get("servers", listed)
        servers += [json.dumps(server) for server in listed.values()]
    assert len(servers) == 7
    assert all(re.search(r'"https?://[^"]+/mcp"', server) for server in servers)
