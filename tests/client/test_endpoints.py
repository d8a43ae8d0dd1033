"""The order in which endpoints are tried."""

from __future__ import annotations

import pytest

from mcp_transport.client.endpoints import Choice, Endpoints

URLS = ["http://a/mcp", "http://b/mcp", "http://c/mcp"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def names(endpoints: Endpoints) -> list[str]:
    return [endpoint.name[7] for endpoint in endpoints.available(5.0)]


def fail(endpoints: Endpoints, name: str) -> None:
    endpoint = next(endpoint for endpoint in endpoints.available(5.0) if endpoint.name[7] == name)
    endpoints.record_failure(endpoint, "no answer")


def test_the_first_of_the_list_is_first(clock: Clock) -> None:
    assert names(Endpoints(URLS, "ordered", clock)) == ["a", "b", "c"]


def test_one_that_failed_is_left_alone_until_it_may_be_tried(clock: Clock) -> None:
    endpoints = Endpoints(URLS, "ordered", clock)
    fail(endpoints, "a")
    assert names(endpoints) == ["b", "c"]
    assert endpoints.wait() == 0.0
    clock.now = 0.5
    assert names(endpoints) == ["a", "b", "c"]
    assert names(endpoints) == ["b", "c"], "one request tries it at a time"


def test_when_all_have_failed_there_is_a_wait(clock: Clock) -> None:
    endpoints = Endpoints(URLS, "ordered", clock)
    for name in "abc":
        fail(endpoints, name)
        clock.now += 0.1
    assert names(endpoints) == []
    assert endpoints.wait() == pytest.approx(0.2)


def test_a_client_stays_with_the_endpoint_that_answered(clock: Clock) -> None:
    """Servers without a shared store know a session at one endpoint only."""
    endpoints = Endpoints(URLS, "ordered", clock)
    fail(endpoints, "a")
    endpoints.record_success(next(endpoints.available(5.0)), 0.1)
    clock.now = 1000.0
    assert names(endpoints) == ["b", "a", "c"]


@pytest.mark.parametrize(("choice", "expected"), [("ordered", ["c", "a", "b"]), ("fastest", ["c", "b", "a"])])
def test_the_next_one_is_by_order_or_by_speed(clock: Clock, choice: Choice, expected: list[str]) -> None:
    endpoints = Endpoints(URLS, choice, clock)
    for endpoint, seconds in zip(list(endpoints.available(5.0)), (3.0, 1.0, 2.0), strict=True):
        endpoints.record_success(endpoint, seconds)
    assert names(endpoints) == expected


def test_a_rest_that_an_endpoint_asks_for_is_no_failure(clock: Clock) -> None:
    endpoints = Endpoints(URLS, "ordered", clock)
    endpoints.record_busy(endpoints.current, "busy", 7.0)
    assert names(endpoints) == ["b", "c"]
    clock.now = 7.0
    assert names(endpoints) == names(endpoints) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("urls", "text"),
    [
        ([], "at least one"),
        (["http://a/mcp", "http://a/mcp"], "duplicate endpoint"),
        (["ftp://a/mcp"], "ftp://a/mcp"),
        (["a/mcp"], "a/mcp"),
        (["http:///mcp"], "host"),
        (["http://a:port/mcp"], "http://a:port/mcp"),
        ([""], "''"),
    ],
)
def test_what_is_no_endpoint_is_refused(urls: list[str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Endpoints(urls)


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="'ordered' or 'fastest'"):
        Endpoints(URLS, "random")  # type: ignore[arg-type]


def test_messages_hold_no_credentials() -> None:
    endpoint = Endpoints(["https://ann:secret@a/mcp?key=secret"]).current
    assert endpoint.name == "https://a/mcp"
    assert "secret" not in repr(endpoint)


@pytest.mark.parametrize("url", ["ftp://ann:secret@a/mcp", "http://ann:secret@a:port/mcp?key=secret", "a/?secret"])
def test_the_refusal_of_a_url_holds_no_credentials(url: str) -> None:
    with pytest.raises(ValueError, match="is not") as caught:
        Endpoints([url])
    assert "secret" not in str(caught.value)


def test_the_last_error_of_each_endpoint_is_known_until_it_answers(clock: Clock) -> None:
    endpoints = Endpoints(URLS, "ordered", clock)
    first, second, _ = list(endpoints.available(5.0))
    endpoints.record_failure(first, "refused")
    endpoints.record_busy(second, "busy", 7.0)
    assert endpoints.errors() == {"http://a/mcp": "refused", "http://b/mcp": "busy"}
    endpoints.record_success(first, 0.1)
    assert endpoints.errors() == {"http://b/mcp": "busy"}


def test_a_request_that_endpoints_refuse_alone_waits_for_the_first_of_them(clock: Clock) -> None:
    endpoints = Endpoints(URLS[:2], "ordered", clock)
    endpoints.record_busy(endpoints.current, "busy", 7.0)
    assert endpoints.wait() == 0.0
    assert endpoints.wait({"http://b/mcp": 9.0}) == 7.0
    assert [endpoint.name for endpoint in endpoints.available(5.0)] == ["http://b/mcp"]
    assert len(list(endpoints.available(5.0, begins_work=False))) == 2


# -- regions


@pytest.fixture
def regions(clock: Clock) -> Endpoints:
    """Return endpoints of which two have named their regions."""
    endpoints = Endpoints([f"http://{name}/mcp" for name in "abcd"], "ordered", clock)
    for endpoint, region in zip(list(endpoints.available(5.0)), ("eu", "us", "", "eu"), strict=True):
        if region:
            endpoints.record_success(endpoint, 0.1, region)
    return endpoints


def test_endpoints_of_the_same_region_come_before_others(regions: Endpoints) -> None:
    """One that has not responded yet may be of the same region."""
    assert regions.current.name == "http://d/mcp"
    assert names(regions) == ["d", "a", "c", "b"]


def test_work_of_another_region_goes_there_first(regions: Endpoints) -> None:
    assert [endpoint.name[7] for endpoint in regions.available(5.0, region="us")] == ["b", "d", "c", "a"]


def test_nearer_regions_are_those_that_the_list_prefers(clock: Clock) -> None:
    endpoints = Endpoints(URLS, "ordered", clock)
    first, second, third = list(endpoints.available(5.0))
    assert endpoints.nearer() == []
    endpoints.record_success(third, 0.1, "ap")
    assert endpoints.nearer() == [first, second]
    endpoints.record_region(first, "eu")
    endpoints.without_session.add("eu")
    assert endpoints.nearer() == [second]
    endpoints.record_region(second, "ap")
    assert endpoints.nearer() == []


def test_the_list_is_no_order_for_the_fastest_choice(clock: Clock) -> None:
    endpoints = Endpoints(URLS, "fastest", clock)
    endpoints.record_success(list(endpoints.available(5.0))[2], 0.1, "ap")
    assert endpoints.nearer() == []


def test_a_response_of_a_proxy_does_not_hide_the_region(regions: Endpoints) -> None:
    regions.record_success(regions.current, 0.1)
    assert regions.current.region == "eu"


def test_old_work_does_not_take_new_work_along(regions: Endpoints) -> None:
    other = next(iter(regions.available(5.0, region="us")))
    regions.record_success(other, 0.1, "us", moves=False)
    assert regions.current.region == "eu"
