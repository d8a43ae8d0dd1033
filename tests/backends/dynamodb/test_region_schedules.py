"""Regions in virtual time, which are lost, cut off and come back as a seed decides: the page's promises hold."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import pytest

from mcp_transport.backends.dynamodb.regions.parts import RoutedSessionStore
from tests.support.dynamodb.customers import LOST, POLICY, Customer, Site, until
from tests.support.dynamodb.regions import World, open_records
from tests.support.dynamodb.virtual import run_virtually

# `MCP_REGION_SEEDS=200` tries two hundred.
SEEDS = range(int(os.environ.get("MCP_REGION_SEEDS", "3")))
NAMES = ("eu-west-1", "us-east-1", "ap-south-1")
MAX_RERUNS = 1
"""How often a durable call runs again that its client has sent once."""
LOST_CALLS = (
    "its session has moved to another region before the call ended",
    "the server that ran the call was lost",
)
BOUND = LOST + POLICY.lease + 10.0
"""Seconds after which a client has an answer although a region was lost."""


async def stage(seed: int, regions: int, customers: int = 3) -> tuple[Site, list[Customer]]:
    names = NAMES[:regions]
    site = Site(World(seed, *names))
    await site.start()
    made = []
    for number in range(customers):
        first = number % regions
        customer = Customer(site, f"c{number}", [*names[first:], *names[:first]])
        await customer.open()
        made.append(customer)
    return site, made


def check(site: Site, customers: Sequence[Customer]) -> None:
    """Check what holds whatever has happened."""
    different = {name: contents for name, contents in site.events.items() if len(contents) > 1}
    assert not different, f"event numbers with two contents: {different}"
    for customer in customers:
        for name, sent in customer.sent.items():
            runs, again = site.runs[name], MAX_RERUNS if name in customer.durable else 0
            assert runs <= sent * (1 + again), f"{name} was sent {sent} times, and ran {runs} times"
            if "error" in (answer := customer.answers[name]):
                assert answer["error"]["message"].startswith(LOST_CALLS), answer


async def settle(site: Site, customers: Sequence[Customer]) -> None:
    """Heal everything, let the clients go on for a while and stop, and wait until the regions agree."""
    site.world.heal()
    for region in site.world.regions:
        await site.bring_back(region)
    await asyncio.sleep(BOUND)
    for customer in customers:
        customer.stop()


async def ended(running: Sequence[asyncio.Future[None]], customers: Sequence[Customer]) -> None:
    """Wait for the clients, each of which gets an answer."""
    try:
        async with asyncio.timeout(20 * BOUND):
            await asyncio.gather(*running)
    except TimeoutError:
        pytest.fail(f"these clients wait without end: {[customer.doing for customer in customers]}")


async def agree(site: Site, customers: Sequence[Customer]) -> None:
    """Have all processes of all regions name the same home, in which alone the session is open."""
    await asyncio.sleep(POLICY.lease + 5)
    for customer in customers:
        homes = set()
        for process in site.processes:
            store = process.endpoint.backend.sessions
            assert isinstance(store, RoutedSessionStore)
            homes.add((await store.router.verify(customer.key, consistent=True)).region)
        assert len(homes) == 1, homes
        assert list(open_records(site.world, customer.key)) == list(homes)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_region_is_lost_and_comes_back(seed: int) -> None:
    async def live() -> None:
        site, customers = await stage(seed, 2 + seed % 2)
        random = site.world.random
        running = [asyncio.ensure_future(customer.run()) for customer in customers]
        await asyncio.sleep(random.uniform(1, 15))
        lost = random.choice(list(site.world.regions))
        site.lose(lost)
        # One more answer may have been on its way.
        wanted = {customer: len(customer.answers) + 2 for customer in customers}
        goes_on = lambda: all(len(customer.answers) >= count for customer, count in wanted.items())  # noqa: E731
        await until(goes_on, 2 * BOUND, "each client goes on")
        await asyncio.sleep(random.uniform(0, 30))
        await site.bring_back(lost)
        await settle(site, customers)
        await ended(running, customers)
        check(site, customers)
        await agree(site, customers)
        assert site.count("rehomed") >= 1
        assert site.count("rehoming_yielded") >= 1

    run_virtually(live())


def disturb(site: Site, customers: Sequence[Customer]) -> None:
    """Have something happen to a region."""
    random, world = site.world.random, site.world
    one, other = random.sample(list(world.regions), 2)
    match random.randrange(7):
        case 0:
            world.partition(one, other)
        case 1:
            world.cuts.add((one, other))
        case 2:
            world.cuts |= {(one, other), (other, one)}
            world.partition(one, other)
            world.partition(other, one)
        case 3:
            random.choice(site.of(one)).kill()
        case 4:  # its clients are served elsewhere
            for customer in customers:
                random.shuffle(customer.nearest)
        case 5:  # its processes live
            world.lose(one)
        case 6:
            site.lose(one)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_cut_off_heals(seed: int) -> None:
    async def live() -> None:
        site, customers = await stage(seed, 2 + seed % 2)
        random = site.world.random
        running = [asyncio.ensure_future(customer.run()) for customer in customers]
        for _ in range(4):
            await asyncio.sleep(random.uniform(0, 8))
            disturb(site, customers)
            await asyncio.sleep(random.uniform(0, 3 * LOST))
            if random.random() < 0.5:
                for region in site.world.regions:
                    await site.bring_back(region)
        await settle(site, customers)
        await ended(running, customers)
        check(site, customers)
        await agree(site, customers)

    run_virtually(live())


def test_no_region_is_lost_whose_nodes_live() -> None:
    """Only the path of one region to another is cut: its requests are refused until that is back."""

    async def live() -> None:
        site, [customer] = await stage(1, 2, customers=1)
        customer.nearest.reverse()
        running = asyncio.ensure_future(customer.run())
        await asyncio.sleep(3)
        site.world.cuts.add(("us-east-1", "eu-west-1"))
        await asyncio.sleep(10 * LOST)
        assert site.count("rehomed") == 0
        assert customer.refused[503] > 10
        site.world.heal()
        await settle(site, [customer])
        await ended([running], [customer])
        check(site, [customer])
        assert site.count("rehomed") == 0

    run_virtually(live())
