"""One server with DynamoDB's API for the tests of the backend, a fresh table for each, and backends on it."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.table import DEFINITION, TIME_TO_LIVE
from mcp_transport.domain.policy import Policy
from tests.support.backends import POLICY, HandClock
from tests.support.dynamodb.server import REGION, VARIABLES, DynamoServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def dynamo() -> Iterator[DynamoServer]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        # Each session of boto3 reads the description of the API, for 0.1 s: the tests' clients share one session.
        session = boto3.session.Session()
        patch.setattr(boto3.session, "Session", lambda: session)
        with DynamoServer() as server:
            yield server


@functools.lru_cache(maxsize=2)
def admin(url: str) -> Any:
    """Return a client of boto3 for what tests do with tables."""
    return boto3.session.Session().client("dynamodb", region_name=REGION, endpoint_url=url)


@pytest.fixture
def table(dynamo: DynamoServer) -> Iterator[TableSettings]:
    """A fresh table, which is deleted after the test."""
    settings = make_table(dynamo)
    yield settings
    admin(dynamo.url).delete_table(TableName=settings.table)


def make_table(dynamo: DynamoServer) -> TableSettings:
    """Create a table, and return where it is."""
    name, client = f"mcp-{os.getpid()}-{next(_numbers)}", admin(dynamo.url)
    client.create_table(TableName=name, **DEFINITION)
    client.update_time_to_live(TableName=name, TimeToLiveSpecification=TIME_TO_LIVE)
    return TableSettings(table=name, region=REGION, endpoint_url=dynamo.url)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def build_client(table: TableSettings, now: Callable[[], float] | None = None) -> DynamoClient:
    """Return a client of the table, on the store's clock unless a test advances its own."""
    return DynamoClient(table, now)


def build(table: TableSettings, policy: Policy = POLICY, now: Callable[[], float] | None = None) -> Backend:
    """Return a backend on the table, as a process has it: several on one table are several processes."""
    from mcp_transport.backends.dynamodb.backend import dynamodb_backend  # some of its parts may not exist yet

    return dynamodb_backend(policy, table, now)


def client_of(backend: Backend) -> DynamoClient:
    """Return the client that the parts of a backend share."""
    sessions: Any = backend.sessions
    client: DynamoClient = sessions._client
    return client


def boto3_of(client: DynamoClient) -> Any:
    """Return the client of boto3 below, whose events tests can count or disturb."""
    return client._connection().client
