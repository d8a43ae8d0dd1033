"""The rows of the session list, with links to lists that are filtered by a value of the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_transport.admin.list_query import ListQuery
from mcp_transport.admin.tables import LIST_COLUMNS, NUMERIC
from mcp_transport.domain.session import Session, short_id
from mcp_transport.domain.session_query import client_of
from mcp_transport.operators.representation.fields import Field
from mcp_transport.operators.representation.formats import local_datetime
from mcp_transport.operators.representation.kinds import TIME

__all__ = ["session_row"]

_LINKED: Final = ("client", "node")


def session_row(session: Session, list_query: ListQuery, nodes: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of the list, and what the confirmation page shows; `nodes` has the labels of live nodes."""
    return {
        "id": short_id(session.key),
        "key": session.key,
        "client": client_of(session),
        "user": session.user,
        "calls": session.calls,
        "cells": [_cell(column, session, list_query, nodes) for column in LIST_COLUMNS],
    }


def _cell(
    column: Field[Session], session: Session, list_query: ListQuery, nodes: Mapping[str, str]
) -> dict[str, Any]:
    value, text = column.read(session), column.text(session)
    link = ""
    if column.name in _LINKED and value:
        link = list_query.having(column.name, value).link
    elif column.name == "user":
        link = list_query.having_user(value).link
    elif column.name == "protocol":
        link = list_query.having("protocol_version", value).link
    return {
        "name": column.name,
        "text": nodes.get(value, text) if column.name == "node" else text,
        "moment": local_datetime(value) if column.kind is TIME else None,
        "link": link,
        "is_number": column.name in NUMERIC,
        "state": str(value) if column.name == "state" else "",
    }
