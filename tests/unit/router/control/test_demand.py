"""Are demands of gateways that come and go summed up right?"""

from glowplug_router.control.demand import DemandBook
from glowplug_router.records.observed import Demand
from glowplug_router.records.published import DemandReport

KEY = "hello/greet@1"


def report(
    gateway: str, number: int, arrivals: int, queued: int = 0, key: str = KEY
) -> DemandReport:
    demand = Demand(
        key=key,
        arrivals=arrivals,
        completed=arrivals - queued,
        queued=queued,
        last_arrival_ns=arrivals,
    )
    return DemandReport(gateway=gateway, number=number, demands=(demand,))


def total(book: DemandBook, key: str = KEY) -> Demand:
    return next(one for one in book.total() if one.key == key)


def test_demands_of_several_gateways_are_added() -> None:
    book = DemandBook()
    book.take(report("a", 1, arrivals=10, queued=2))
    book.take(report("b", 1, arrivals=5, queued=1))

    assert (total(book).arrivals, total(book).queued, total(book).last_arrival_ns) == (15, 3, 10)


def test_a_report_says_only_what_changed() -> None:
    book = DemandBook()
    assert book.take(report("a", 1, arrivals=10))
    assert book.take(report("a", 2, arrivals=3, key="hello/other@1"))
    assert not book.take(report("a", 3, arrivals=3, key="hello/other@1"))

    assert (total(book).arrivals, total(book, "hello/other@1").arrivals) == (10, 3)


def test_a_report_that_was_overtaken_is_dropped() -> None:
    book = DemandBook()
    book.take(report("a", 2, arrivals=10))

    assert not book.take(report("a", 1, arrivals=10, queued=4))
    assert total(book).queued == 0


def test_a_restarted_gateway_counts_on_from_what_it_had() -> None:
    book = DemandBook()
    book.take(report("a", 9, arrivals=10, queued=3))
    book.away("a")
    book.take(report("a", 1, arrivals=2, queued=1))

    assert (total(book).arrivals, total(book).queued) == (12, 1)


def test_a_gateway_that_is_away_has_no_queue_and_its_counts_are_not_taken_twice() -> None:
    book = DemandBook()
    book.take(report("a", 9, arrivals=10, queued=3))
    book.away("a")
    assert (total(book).arrivals, total(book).queued) == (10, 0)

    book.take(report("a", 10, arrivals=11))
    assert total(book).arrivals == 11


def test_versions_that_are_served_no_more_are_dropped() -> None:
    book = DemandBook()
    book.take(report("a", 1, arrivals=10))
    book.forget(())

    assert book.total() == ()
