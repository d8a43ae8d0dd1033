"""The documented Redis user may do what the backend does, and nothing else.

All other tests on a redis-server are served as that user, and fail when it was refused something.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from redis.sentinel import Sentinel

from mcp_transport.backends.redis import acl
from mcp_transport.backends.redis.keys import Keys
from mcp_transport.backends.redis.scripts import load_scripts
from tests.backends.redis.scene import nodes, use
from tests.support.backends import KEY, index_of, session
from tests.support.docs import DOCS
from tests.support.processes import free_port
from tests.support.redis.aliases import Alias, client, clusters, django
from tests.support.redis.server import RedisServer
from tests.support.redis.users import ADMIN, PASSWORD, USER, RefusalWatch, sentinel_users, watched

pytestmark = pytest.mark.servers

BACKEND = Path(acl.__file__).parent
CALL = r"p?call\(\s*'([A-Z]+)'"
FORBIDDEN = [
    "CONFIG GET x",
    "FLUSHALL",
    "GET other",
    "KEYS *",
    "PUBLISH mcp:bus x",
    "SCAN 0",
    "SCRIPT FLUSH",
    "SET m x",
]


# -- the rule is that of the code ------------------------------------------------------------------------


def sent_by_scripts() -> set[str]:
    """Return the commands of all scripts."""
    sources = [script.source for script in load_scripts().values()]
    return {name.lower() for source in sources for name in re.findall(rf"redis\.{CALL}", source)}


def test_scripts_name_the_commands_that_they_send() -> None:
    for name, script in load_scripts().items():
        assert not re.findall(rf"redis\.(?!{CALL}).*", script.source), name


def sent_by_python(known: set[str]) -> set[str]:
    """Return the commands in capitals in the code, and the methods of redis-py's client that it calls."""
    found = set()
    for path in BACKEND.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isupper():
                found.add(node.value.lower())
            elif isinstance(node, ast.Call):
                found |= {*re.findall(r"^self\._(?:inbox|client)\.(\w+)$", ast.unparse(node.func))}
    return found & known


def test_the_rights_are_for_the_commands_that_the_code_sends(admin: redis.Redis) -> None:
    known = {str(name).lower() for name in admin.command_list()}
    assert sorted(sent_by_scripts() | sent_by_python(known)) == list(acl.COMMANDS)


def test_the_rule_grants_nothing_else() -> None:
    words = acl.acl_rule().split(" ")
    granted = [word for word in words if word[0] in "+~&%("]
    assert granted[0] == "~mcp:*"
    assert [word.lstrip("+") for word in granted[1:]] == sorted({*acl.COMMANDS, *acl.CONNECTION_COMMANDS})
    assert words[:3] == ["ACL", "SETUSER", "mcp"]
    # What an earlier rule has granted is taken back; the password, which is not named, stays.
    assert words[3:7] == ["resetkeys", "resetchannels", "clearselectors", "-@all"]


@pytest.mark.parametrize("command", FORBIDDEN)
def test_what_is_not_needed_is_refused(command: str, admin: redis.Redis) -> None:
    assert "permission" in str(admin.acl_dryrun(USER, *command.split(" ")))


def test_the_rules_are_documented() -> None:
    text = (DOCS / "howto/redis.md").read_text(encoding="utf-8")
    rules = re.findall(r"^ACL SETUSER mcp resetkeys.*$", text, re.M)
    assert rules == [acl.acl_rule(), acl.sentinel_acl_rule()]
    assert ", ".join(f"`+{name}`" for name in acl.CLUSTER_COMMANDS) in text


# -- it is enough ----------------------------------------------------------------------------------------


def called(*servers: RedisServer) -> set[str]:
    """Return the commands that servers have executed."""
    lines = [line for server in servers for line in server.cli("INFO", "commandstats").splitlines()]
    return {line.removeprefix("cmdstat_").partition(":")[0] for line in lines if line.startswith("cmdstat_")}


@pytest.mark.parametrize("prefix", ["", "shop", "it's [a] \\*?"])
async def test_it_is_enough_with_any_prefix_and_database(
    prefix: str, server: RedisServer, admin: redis.Redis
) -> None:
    rule = acl.acl_rule(f"{prefix}:" if prefix else "", user="shop")
    watch = RefusalWatch(user="shop", path=server.socket)
    server.cli(lines=f"{rule}\nACL SETUSER shop on >{PASSWORD}\nCONFIG RESETSTAT\n")
    cache = {**django(f"{server.url_of('shop')}/1"), "KEY_PREFIX": prefix}
    async with nodes(cache) as (one, other):
        await use(one, other)
    assert watch.look() == []
    assert called(server) >= set(acl.CONNECTION_COMMANDS)
    with redis.Redis.from_url(f"{server.admin_url}/1") as client:
        client.flushdb()


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    """Start two masters that share the slots."""
    lines = ("cluster-enabled yes", "cluster-node-timeout 2000")
    with ExitStack() as stack:
        servers = [stack.enter_context(RedisServer(*lines, f"cluster-port {free_port()}")) for _ in range(2)]
        one, other = servers
        one.cli("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
        other.cli("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
        other.cli("CLUSTER", "SET-CONFIG-EPOCH", "2")
        bus = one.lines[2].partition(" ")[2]
        other.cli("CLUSTER", "MEET", "127.0.0.1", str(one.port), bus)
        for server in servers:
            server.wait_for("cluster_state:ok", "CLUSTER", "INFO")
        yield servers


@clusters
async def test_it_is_enough_for_a_cluster_whose_slots_move(cluster: list[RedisServer]) -> None:
    slot = cluster[0].cli("CLUSTER", "KEYSLOT", Keys("").of_session(KEY)).strip()
    old, new = cluster if int(slot) < 8192 else cluster[::-1]
    old_id, new_id = (server.cli("CLUSTER", "MYID").strip() for server in (old, new))
    for server in cluster:
        server.cli("CONFIG", "RESETSTAT")
    new.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
    old.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
    async with nodes(django([server.url for server in cluster]), cluster=True) as (one, other):
        await one.sessions.open(session(time.time))
        for server in (new, old):
            server.cli("CLUSTER", "SETSLOT", slot, "NODE", new_id)
        await use(one, other)
    assert called(*cluster) >= {"client|setname", *acl.CLUSTER_COMMANDS}


@pytest.fixture
def sentinel(server: RedisServer, admin: redis.Redis) -> Iterator[RedisServer]:
    """Start a sentinel of the server, with the documented user of its own."""
    lines = (
        f"sentinel monitor service 127.0.0.1 {server.port} 1",
        f"sentinel auth-user service {ADMIN}",
        f"sentinel auth-pass service {PASSWORD}",
        *sentinel_users(),
    )
    with RedisServer(*lines, sentinel=True) as started:
        yield started


def behind(sentinel: RedisServer) -> Alias:
    login = {"username": USER, "password": PASSWORD}
    manager = Sentinel([("127.0.0.1", sentinel.port)], sentinel_kwargs=login)  # type: ignore[no-untyped-call]
    return django("redis://service/0", sentinel_manager=manager, service_name="service", **login)


async def test_it_is_enough_behind_sentinel(sentinel: RedisServer) -> None:
    async with nodes(behind(sentinel)) as (one, other):
        await use(one, other)
    assert RefusalWatch(port=sentinel.port).look() == []


@pytest.mark.parametrize("command", acl.SENTINEL_COMMANDS)
async def test_nothing_is_too_much_for_a_sentinel(command: str, sentinel: RedisServer) -> None:
    with redis.Redis(port=sentinel.port, username=ADMIN, password=PASSWORD) as asking:
        asking.execute_command("ACL SETUSER", USER, f"-{command}")
    async with client(behind(sentinel)) as connected:
        with pytest.raises(redis.RedisError):
            await connected.exists("mcp:born")
    assert RefusalWatch(port=sentinel.port).look() == [f"command {command}"]


async def test_who_may_not_ask_for_the_memory_sees_the_rest(server: RedisServer, admin: redis.Redis) -> None:
    server.cli(lines=f"{acl.acl_rule(user='few')}\nACL SETUSER few on >{PASSWORD} -info\n")
    async with nodes(django(server.url_of("few"))) as (one, _):
        await one.sessions.open(session(time.time))
        overview = await index_of(one).overview()
    assert (overview.total, overview.memory, overview.memory_limit) == (1, 0, 0)


# -- tests would notice ----------------------------------------------------------------------------------


def test_what_is_refused_fails_the_test_also_inside_a_script_and_when_the_server_has_stopped() -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as connected:
        with pytest.raises(redis.exceptions.NoPermissionError):
            connected.flushall()
        assert watched.take() == ["command flushall"]
        assert watched.take() == []
        with pytest.raises(redis.ResponseError):
            connected.eval("return redis.call('GET', 'other')", 0)
    assert watched.take() == ["key other"]
