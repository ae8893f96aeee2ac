"""Does the Python client give back what a router's endpoints return and raise, as their own types?"""

import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from system.place import Place, place

APP = """
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
import time
from pydantic import BaseModel
from glowplug import endpoint

@dataclass
class Basket:
    items: dict[str, int]
    notes: list[str] = field(default_factory=list)

class Receipt(BaseModel):
    total: int
    paid: bool = False

class TillError(Exception):
    def __init__(self, code: int, *, drawer: str) -> None:
        super().__init__(f"drawer {drawer} is stuck: {code}")
        self.code = code

@endpoint
def pay(basket: Basket, rate: int = 2, *, paid: bool = True) -> Receipt:
    return Receipt(total=rate * sum(basket.items.values()), paid=paid)

@endpoint
async def refund(receipt: Receipt) -> Basket:
    return Basket({"refund": receipt.total}, ["sorry"])

@endpoint
def mirror(data: bytes) -> bytes:
    return data[::-1]

@endpoint
def baskets(n: int) -> Iterator[Basket]:
    for i in range(n):
        yield Basket({"apple": i})

@endpoint
async def receipts(n: int) -> AsyncIterator[Receipt]:
    for i in range(n):
        yield Receipt(total=i)

@endpoint
def opens(code: int) -> int:
    return turn_the_key(code)

def turn_the_key(code: int) -> int:
    raise TillError(code, drawer="left")

@endpoint
def slips(n: int) -> Iterator[int]:
    yield n
    turn_the_key(n)

@endpoint
def naps(seconds: float) -> str:
    time.sleep(seconds)
    return "awake"
"""

BEGIN = """
import anyio, traceback
from app import *
from glowplug import Endpoint
from glowplug.errors import DeadlineError, NotAllowedError, NotFoundError
"""


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("client")) as here:
        here.deploy("till", APP)
        yield here


def runs(router: Place, script: str, env: Mapping[str, str] | None = None) -> str:
    """Run a script beside the app's file, in a process of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script],
        cwd=router.sources / "till",
        env=router.env | dict(env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_arguments_and_answers_are_dataclasses_models_and_bytes(router: Place) -> None:
    runs(
        router,
        """
basket = Basket({"apple": 3, "pear": 4})
assert pay.remote(basket) == Receipt(total=14, paid=True)
assert pay.remote(basket, 5, paid=False) == Receipt(total=35)
assert pay.remote(basket=basket, rate=1).total == 7
assert refund.remote(Receipt(total=9)) == Basket({"refund": 9}, ["sorry"])
assert mirror.remote(bytes(range(256))) == bytes(range(256))[::-1]
assert mirror.remote(b"") == b""

async def main():
    assert await pay.aremote(basket, rate=3) == Receipt(total=21, paid=True)
    assert await refund.aremote(Receipt(total=1)) == Basket({"refund": 1}, ["sorry"])
    assert await mirror.aremote(b"ab") == b"ba"

anyio.run(main)
""",
    )


def test_streams_give_items_of_their_types_and_may_be_left_early(router: Place) -> None:
    runs(
        router,
        """
assert list(baskets.stream(3)) == [Basket({"apple": i}) for i in range(3)]
assert list(receipts.stream(2)) == [Receipt(total=0), Receipt(total=1)]
assert list(baskets.stream(0)) == []
endless = baskets.stream(1_000_000)
assert next(endless).items == {"apple": 0}
endless.close()

async def main():
    assert [one async for one in receipts.astream(3)] == [Receipt(total=i) for i in range(3)]
    assert [one async for one in baskets.astream(1)] == [Basket({"apple": 0})]

anyio.run(main)
""",
    )


def test_an_endpoint_is_found_by_name_and_version_without_its_code(router: Place) -> None:
    runs(
        router,
        """
found = Endpoint.lookup("till/pay")
assert found.remote(basket={"items": {"apple": 2}}) == {"total": 4, "paid": True}
assert Endpoint.lookup("till/pay", version="v1").remote(basket={"items": {}})["total"] == 0
assert [one["total"] for one in Endpoint.lookup("till/receipts").stream(n=2)] == [0, 1]
for name, version, code in (
    ("till/pay", "v99", "version_not_found"), ("till/none", "", "not_found"), ("none/pay", "", "not_found")
):
    try:
        Endpoint.lookup(name, version=version).remote(basket={"items": {}})
    except NotFoundError as error:
        assert (error.code, error.executed) == (code, "no"), error.code
        assert error.hint
    else:
        raise AssertionError((name, version))
""",
    )


def test_the_callers_patience_ends_a_call(router: Place) -> None:
    runs(
        router,
        """
import time
assert naps.using(deadline="10s").remote(0) == "awake"
began = time.monotonic()
try:
    naps.using(deadline="300ms").remote(3)
except DeadlineError as error:
    assert error.code == "deadline", error.code
else:
    raise AssertionError("it answered")
assert time.monotonic() - began < 2
""",
    )


def test_the_users_own_exception_comes_back_with_the_replicas_frames(router: Place) -> None:
    runs(
        router,
        """
for call in (lambda: opens.remote(7), lambda: anyio.run(opens.aremote, 7), lambda: list(slips.stream(7))):
    try:
        call()
    except TillError as error:
        assert str(error) == "drawer left is stuck: 7", str(error)
        assert error.__cause__ is None
        assert "turn_the_key" in error.__notes__[0]
    else:
        raise AssertionError("nothing was raised")
""",
    )


def test_an_exception_that_nobody_catches_is_printed_with_the_replicas_lines(router: Place) -> None:
    told = runs(
        router,
        """
try:
    opens.remote(7)
except TillError as error:
    print("".join(traceback.format_exception(error)))
""",
    )

    assert "On the replica (request " in told
    assert 'raise TillError(code, drawer="left")' in told


def test_a_key_that_may_only_call_gets_the_exception_and_no_traceback(router: Place) -> None:
    made = router.run("keys", "create", "--name", "guest", "--scope", "invoke:till/*")[0]
    guest = {"GLOWPLUG_URL": router.url, "GLOWPLUG_KEY": str(made["key"])}

    told = runs(
        router,
        """
assert pay.remote(Basket({"apple": 1})).total == 2
try:
    opens.remote(7)
except TillError as error:
    print(error, *getattr(error, "__notes__", ()))
""",
        guest,
    )
    assert told.strip() == "drawer left is stuck: 7"

    answer = router.send(
        "/till/opens", {"code": 7}, {"authorization": f"Bearer {guest['GLOWPLUG_KEY']}"}
    )
    assert answer.json["code"] == "endpoint_error"
    assert b"turn_the_key" not in answer.body
    assert b"turn_the_key" in router.send("/till/opens", {"code": 7}).body


def test_a_key_that_is_not_known_is_refused(router: Place) -> None:
    runs(
        router,
        """
try:
    pay.remote(Basket({}))
except NotAllowedError as error:
    assert (error.code, error.executed) == ("unauthorized", "no"), error.code
else:
    raise AssertionError("it answered")
""",
        {"GLOWPLUG_URL": router.url, "GLOWPLUG_KEY": "gp_none_none"},
    )
