from random import Random

import pytest

from glowplug_router.gateway.routes import FOUND_MAX, Table, pinned
from glowplug_router.gateway.tally import Tallies
from glowplug_router.records.published import RouteEndpoint, RouteVersion, Snapshot


def version(number: int, permille: int) -> RouteVersion:
    return RouteVersion(
        number=number,
        permille=permille,
        replicas=(),
        permits=1,
        max_replicas=1,
        hold=1,
        queue_ns=1,
        start_ns=1,
        run_ns=1,
    )


def table(*versions: RouteVersion) -> Table:
    route = RouteEndpoint(app="app", endpoint="echo", auth="key", versions=versions, stable=1)
    return Table(Snapshot(number=1, epoch=1, endpoints=(route,)), Tallies().of)


@pytest.mark.parametrize(
    ("url", "selector", "query"),
    [
        (b"/app/echo", "", ""),
        (b"/app/echo@v1", "v1", ""),
        (b"/app/echo%40stable?a=b", "stable", "a=b"),
    ],
)
def test_an_invoke_url_names_app_endpoint_and_perhaps_a_version(
    url: bytes, selector: str, query: str
) -> None:
    found = table(version(1, 1000)).find(url)

    assert found is not None
    assert found.target is not None
    assert (found.target.name, found.selector, found.query) == ("app/echo", selector, query)


@pytest.mark.parametrize(
    "url",
    [
        b"/",
        b"/livez",
        b"/-/api/apps",
        b"/-/x",
        b"/a/b/c",
        b"/app/",
        b"//echo",
        b"/../echo",
        b"/v1/models",
        b"/app/e%2Fx",
    ],
)
def test_other_urls_are_the_sites(url: bytes) -> None:
    assert table(version(1, 1000)).find(url) is None


def test_an_unknown_endpoint_is_found_to_be_missing_and_the_near_one_named() -> None:
    routes = table(version(1, 1000))
    found = routes.find(b"/app/ecko")

    assert found is not None
    assert found.target is None
    assert "did you mean `app/echo`?" in routes.missing(found, lambda _: True)
    assert "echo`" not in routes.missing(found, lambda _: False)


def test_versions_are_drawn_by_their_shares() -> None:
    target = table(version(1, 750), version(2, 250), version(3, 0)).targets["app/echo"]
    chance = Random(7)
    drawn = [lane.number for lane in (target.draw(chance) for _ in range(4000)) if lane is not None]

    assert len(drawn) == 4000
    assert drawn.count(2) == pytest.approx(1000, abs=100)
    assert 3 not in drawn


def test_an_endpoint_without_shares_has_nothing_to_draw() -> None:
    assert table(version(1, 0)).targets["app/echo"].draw(Random(1)) is None


@pytest.mark.parametrize(
    ("selector", "number"),
    [("v1", 1), ("v3", 3), ("stable", 1), ("v2", 0), ("v01", 0), ("1", 0), ("canary", 0)],
)
def test_a_selector_pins_a_version_or_none(selector: str, number: int) -> None:
    lane = pinned(table(version(1, 1000), version(3, 0)).targets["app/echo"], selector)

    assert (lane.number if lane is not None else 0) == number


def test_remembered_urls_are_bounded() -> None:
    routes = table(version(1, 1000))
    for n in range(FOUND_MAX + 10):
        routes.find(b"/app/echo?%d" % n)

    assert len(routes._found) <= FOUND_MAX
