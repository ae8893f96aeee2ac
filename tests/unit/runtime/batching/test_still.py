"""How does the loop wait for a short batch?"""

import threading

from glowplug.worker.still import Still


def _nothing() -> None:
    return


def test_a_result_that_comes_in_time_is_handed_over() -> None:
    still = Still()

    assert still.give(_nothing)
    assert still.wait() is _nothing


def test_the_loop_waits_while_a_thread_works() -> None:
    still, taken = Still(), list[bool]()
    thread = threading.Thread(target=lambda: taken.append(still.give(_nothing)))
    thread.start()

    given = still.wait()
    thread.join()

    assert (given is _nothing) == taken[0]  # handed over or refused: never both, never neither


def test_a_result_that_comes_too_late_has_to_be_posted() -> None:
    still = Still()

    assert still.wait() is None
    assert not still.give(_nothing)
