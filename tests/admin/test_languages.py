"""The translations: complete, those of the sources, on the pages of the admin, and in nothing that programs read."""

from __future__ import annotations

import ast
import html
import re
import shutil
from collections.abc import Callable, Iterator
from gettext import GNUTranslations
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import translation

from mcp_transport.operators.representation import formats
from tests.support.messages import CATALOG, PACKAGE, catalogs, collect, compile_catalog
from tests.support.visits import LIST, Visitor, page

LANGUAGES = [catalog.parts[-3] for catalog in catalogs()]
# What people read: pages, models, and what both show. REST and `mcp_sessions` take values or English from these.
TRANSLATED = ("admin/", "contrib/", "operators/representation/", "models.py", "apps.py")
PLACEHOLDERS = re.compile(r"%*%(?:\(\w+\))?[sd]|</?\w+>")

Texts = dict[Any, str]


def texts(compiled: Path) -> Texts:
    """Return the translations by their texts; those of plurals by text and number."""
    with compiled.open("rb") as file:
        return dict(vars(GNUTranslations(file))["_catalog"])


def compiled(language: str) -> Path:
    return PACKAGE / "locale" / language / CATALOG.replace(".po", ".mo")


@pytest.mark.servers
def test_the_catalogs_are_those_of_the_sources(tmp_path: Path) -> None:
    package = tmp_path / "mcp_transport"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "static", "*.mo"))
    collect(package)
    for catalog in catalogs(package):
        language, written = catalog.parts[-3], catalog.read_text("utf-8")
        lacking = re.findall(
            r'^msgid (".*")\n(?:msgid_plural .*\n)?(?:msgstr.*\n)*msgstr\S* ""\n(?!")', written, re.M
        )
        assert not lacking, f"Run `make messages`, and translate into {language}: {lacking}"
        assert "#, fuzzy" not in written, f"Run `make messages`, and look at what is fuzzy in {language}."
        compile_catalog(catalog, catalog.with_suffix(".mo"))
        assert texts(catalog.with_suffix(".mo")) == texts(compiled(language)), "Run `make messages`."


def test_each_language_has_the_same_texts() -> None:
    assert {"de", "fr"} <= {*LANGUAGES}
    assert len({frozenset(texts(compiled(language))) for language in LANGUAGES}) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_have_the_placeholders_and_the_elements_of_their_texts(language: str) -> None:
    for text, translated in texts(compiled(language)).items():
        if isinstance(text, str) and text:  # msgfmt compares those of plurals
            assert sorted(PLACEHOLDERS.findall(text)) == sorted(PLACEHOLDERS.findall(translated)), text
            assert ("<" in text) or ("<" not in translated), text


# -- pages -----------------------------------------------------------------------------------------------


@pytest.fixture
def multilingual(settings: Any) -> Iterator[None]:
    """Answer in the language that the browser asks for; the last one stays active in the thread."""
    first, *others = settings.MIDDLEWARE
    settings.MIDDLEWARE = [first, "django.middleware.locale.LocaleMiddleware", *others]
    yield
    translation.deactivate()


@pytest.fixture
def opened(shared_cache: None, open_session: Callable[..., Visitor]) -> Visitor:
    """A session in a store that processes share."""
    return open_session("desk", "ann")


def shown(text: str) -> set[str]:
    """Return the texts between tags, and those of attributes."""
    found = [*re.findall(r">([^<>]+)<", text), *re.findall(r'="([^"]*)"', text)]
    return {html.unescape(item).strip() for item in found}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", ["MCP-Sitzungen", "Ausgewählte Sitzungen beenden", "Nach Knoten", "Dashboard"]),
        ("fr", ["Sessions MCP", "Terminer les sessions sélectionnées", "Par nœud", "Tableau de bord"]),
    ],
)
def test_pages_have_no_english_text(
    language: str, words: list[str], opened: Visitor, multilingual: None, admin_client: Client
) -> None:
    translations = texts(compiled(language))
    pairs = [(text.rpartition("\x04")[2], other) for text, other in translations.items() if isinstance(text, str)]
    # A single word in small letters may be the name of a client or a tool.
    english = {text for text, other in pairs if other != text and (text[:1].isupper() or " " in text)}
    paths = ("", "dashboard/", f"{opened.key}/change/", f"{opened.key}/delete/", f"{'A' * 26}/delete/")
    for path in paths:
        answer = admin_client.get(LIST + path, headers={"Accept-Language": language}, follow=True)
        text = page(answer)
        assert f'lang="{language}"' in text
        assert shown(text) & english == set(), path
    assert {*words} <= shown(page(admin_client.get(LIST, headers={"Accept-Language": language})))


@pytest.mark.parametrize(
    ("language", "written"), [("en", "2 days, 3:04:05"), ("de", "2 Tage, 3:04:05"), ("fr", "2 jours, 3:04:05")]
)
def test_days_are_written_in_the_language(language: str, written: str) -> None:
    with translation.override(language):
        assert formats.duration(2 * 86_400 + 3 * 3600 + 4 * 60 + 5) == written
        assert formats.duration(86_399.5) == "23:59:59"


# -- what programs read ----------------------------------------------------------------------------------


def test_only_what_people_read_is_translated() -> None:
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        imports = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom))
        names = {item.name for node in imports if node.module == "django.utils.translation" for item in node.names}
        assert not any("gettext" in item for item in names) or name.startswith(TRANSLATED), name


def test_the_command_writes_english_and_leaves_the_language_active(opened: Visitor) -> None:
    def printed() -> list[str]:
        out = StringIO()
        for arguments in (["list"], ["overview"], ["overview", "--json"], ["show", opened.short_id]):
            call_command("mcp_sessions", *arguments, stdout=out)
        return [re.sub(r"[\d:.+-]+", "0", line) for line in out.getvalue().splitlines()]

    english = printed()
    with translation.override("de"):
        assert printed() == english
        assert translation.get_language() == "de"


@pytest.mark.django_db
@pytest.mark.urls("tests.support.api_urls")
def test_rest_answers_the_same_in_each_language(opened: Visitor, multilingual: None, admin_client: Client) -> None:
    for path in ("sessions/", f"sessions/{opened.key}/", "schema/"):
        answers = [admin_client.get(f"/mcp-api/{path}", headers={"Accept-Language": name}) for name in ("en", "de")]
        assert [answer.status_code for answer in answers] == [200, 200], path
        english, german = (re.sub(r"\d", "0", answer.content.decode()) for answer in answers)
        assert german == english
