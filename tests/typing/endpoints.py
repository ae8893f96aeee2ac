"""What do type checkers see of decorated code? Checked by mypy in test_typing.py, never run."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, assert_type

from glowplug import Endpoint, Image, Scale, Volume, endpoint, on


@endpoint
def plain(x: int, label: str = "a") -> list[float]:
    return [x / 2]


@endpoint(
    gpu=["L4", "A10G"],
    scale=Scale(max=2),
    image=Image.python(),
    volumes=[Volume("models")],
    timeout="5m",
)
async def later(x: int) -> dict[str, int]:
    return {"x": x}


@endpoint
def counted(n: int) -> Iterator[int]:
    yield n


@endpoint(name="tokens")
async def tokens(prompt: str) -> AsyncIterator[str]:
    yield prompt


@endpoint(examples=[{"text": "a"}])
class Embed:
    @on.load
    def load(self) -> None:
        self.size = 3

    def __call__(self, text: str) -> list[float]:
        return [0.0] * self.size


assert_type(plain(1), list[float])
assert_type(plain.remote(x=1, label="b"), list[float])
assert_type(plain.using(deadline="1s").remote(1), list[float])
assert_type(later.remote(1), dict[str, int])
assert_type(counted(1), Iterator[int])
assert_type(counted.stream(1), Generator[int, None, None])
assert_type(tokens.stream("a"), Generator[str, None, None])
assert_type(tokens.astream(prompt="a"), AsyncGenerator[str, None])


async def without_blocking() -> None:
    assert_type(await plain.aremote(1), list[float])
    assert_type(await later(1), dict[str, int])
    assert_type(await later.aremote(1), dict[str, int])


assert_type(Embed(), Embed)
assert_type(Endpoint.of(Embed).remote("a"), list[float])
assert_type(Endpoint.lookup("app/f").remote(x=1), Any)

plain.remote("a")  # type: ignore[arg-type]  # the parameter is an int
plain.remote(z=1)  # type: ignore[call-arg]  # there is no such parameter
plain()  # type: ignore[call-arg]  # one is missing
endpoint(max=3)  # type: ignore[call-overload]  # there is no such option
