"""Does a deployed endpoint that takes lists answer single calls, in batches that can be bounded while it runs?"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from system.place import Place, place, until

SIZES = """
from collections.abc import Iterator
from glowplug import END, Batch, Scale, endpoint

@endpoint(batch=Batch(max=8, wait="400ms"), scale=Scale(min=1, max=1), examples=[{"x": 1}])
def sizes(x: list[int]) -> list[int]:
    return [len(x)] * len(x)

@endpoint(batch=8, examples=[{"text": "ab"}])
def letters(text: list[str]) -> Iterator[list[str | None]]:
    for at in range(3):
        yield [one[at] if at < len(one) else END for one in text]
"""


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("batches")) as here:
        here.deploy("joined", SIZES)
        yield here


def ask(router: Place, count: int) -> list[int]:
    """Send so many calls at once."""
    with ThreadPoolExecutor(count) as threads:
        return list(
            threads.map(lambda x: int(router.answers("/joined/sizes", {"x": x})), range(count))
        )


def test_calls_at_once_run_as_one_and_each_gets_one_answer(router: Place) -> None:
    assert max(ask(router, 6)) > 1
    alone = router.send("/joined/sizes", {"x": 1})

    assert alone.json == 1
    assert "batch;dur=4" in alone.headers["server-timing"]  # it was held for 400 ms


def test_batches_are_bounded_while_they_run_and_nothing_restarts(router: Place) -> None:
    before = router.ready("joined")

    said = router.glowplug("scale", "joined/sizes", "--batch-max", "2", "--batch-wait", "0")

    assert "batches of 2, held 0 ms" in said.stdout + said.stderr
    until(lambda: max(ask(router, 6)) <= 2, what="the rank has not heard of it")
    assert "batches of 2" in router.glowplug("status", "joined").stdout
    assert "up to 8 of them as one" in router.glowplug("status", "joined").stdout
    refused = router.glowplug("scale", "joined/sizes", "--batch-max", "9")
    assert "more than the 8 that the code declares" in refused.stderr
    router.glowplug("scale", "joined/sizes", "--batch-max", "0")
    assert "batches of" not in router.glowplug("status", "joined").stdout
    assert router.ready("joined") == before


def test_the_command_line_and_the_documents_know_one_item(router: Place) -> None:
    assert router.glowplug("call", "joined/sizes", "-i", "x=1").stdout.strip() == "1"
    assert router.glowplug("call", "joined/letters", "-i", "text=xyz").stdout.strip() == "xyz"

    post = router.send("/-/openapi/joined", method="GET").json["paths"]["/joined/sizes"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert "array" not in str(schema)


def test_the_metrics_count_batches_and_why_they_were_cut(router: Place) -> None:
    router.send("/joined/sizes", {"x": 1})

    text = router.send("/metrics", method="GET").body.decode()
    assert 'glowplug_batches_total{app="joined",endpoint="sizes",reason=' in text
