"""Do the examples that need nothing installed do what their pages say?"""

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest

from glowplug import context
from glowplug.calls import TypedFormat
from glowplug.context import Answer, CallContext, Outgoing
from glowplug.endpoints import ClassEndpoint, DeclaredEndpoint, Endpoint
from glowplug.errors import UnavailableError
from glowplug.forms import decoded, encoded, form_of
from glowplug.testing import local

EXAMPLES = Path(__file__).parents[2] / "examples"
APP_LINES_MAX = 60
PAGE_LINES_MAX = 40


@pytest.fixture
def example() -> Iterator[Callable[[str], ModuleType]]:
    """Lend a function that imports an example's file under a name that no other test uses."""
    names: list[str] = []

    def load(path: str) -> ModuleType:
        name = "example_" + path.removesuffix(".py").replace("/", "_")
        spec = spec_from_file_location(name, EXAMPLES / path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = module_from_spec(spec)
        names.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in names:
        del sys.modules[name]


class LocalTransport:
    """Calls that would go to a router run here: what `remote` sends and reads is as it is on the wire."""

    def __init__(self, *endpoints: DeclaredEndpoint[..., Any]) -> None:
        self.endpoints = {one.declare("compose").spec.name: one for one in endpoints}
        self.called: list[str] = []

    def call(self, outgoing: Outgoing) -> Answer:
        self.called.append(f"{outgoing.app}/{outgoing.endpoint}")
        value = self.endpoints[outgoing.endpoint].target(**msgspec.json.decode(outgoing.body))
        return Answer(
            status=200,
            headers={"content-type": "application/json"},
            body=msgspec.json.encode(value),
        )

    async def acall(self, outgoing: Outgoing) -> Answer:
        raise NotImplementedError

    def stream(self, outgoing: Outgoing) -> Iterator[bytes]:
        raise NotImplementedError

    def astream(self, outgoing: Outgoing) -> AsyncIterator[bytes]:
        raise NotImplementedError


class Labels(Endpoint[..., Any]):
    """Stands in for file-type/identify: knows text and refuses what is empty."""

    def __init__(self) -> None:
        self.under_way = Counter[str]()
        self.most_under_way = 0

    async def aremote(self, *args: Any, **kwargs: Any) -> Any:
        self.under_way["calls"] += 1
        self.most_under_way = max(self.most_under_way, self.under_way["calls"])
        await Labels.others_run()
        self.under_way["calls"] -= 1
        if not kwargs["data"]:
            raise UnavailableError("empty")
        return {"label": "txt", "score": 1.0}

    @staticmethod
    async def others_run() -> None:
        from anyio.lowlevel import checkpoint

        for _ in range(10):
            await checkpoint()


def test_hello_greets_as_often_as_asked(example: Callable[[str], ModuleType]) -> None:
    greet = example("hello/app.py").greet

    assert greet("Ada") == "Hello, Ada!"
    assert greet("Ada", times=2) == "Hello, Ada! Hello, Ada!"


async def test_streaming_yields_words_of_its_corpus_one_at_a_time(
    example: Callable[[str], ModuleType],
) -> None:
    generate: ClassEndpoint[..., Any] = example("streaming/app.py").Generate
    corpus = (EXAMPLES / "streaming/corpus.txt").read_text(encoding="utf-8").split()
    with local(generate) as model:
        words = [word async for word in model("the model", tokens=30, pause_s=0)]
        again = [word async for word in model("the model", tokens=30, pause_s=0)]
        other = [word async for word in model("the model", tokens=30, seed=1, pause_s=0)]

    assert len(words) == 30
    assert set(words) <= set(corpus)
    assert words[0] in {
        third
        for first, second, third in zip(corpus, corpus[1:], corpus[2:], strict=False)
        if (first.lower(), second) == ("the", "model")
    }
    assert words == again != other


@pytest.mark.parametrize("prompt", ["", "word", "never seen"])
async def test_streaming_goes_on_from_any_prompt(
    example: Callable[[str], ModuleType], prompt: str
) -> None:
    generate: ClassEndpoint[..., Any] = example("streaming/app.py").Generate
    with local(generate) as model:
        assert len([word async for word in model(prompt, tokens=3, pause_s=0)]) == 3


def test_spectrum_finds_the_tone_in_the_sound(example: Callable[[str], ModuleType]) -> None:
    spectrum = example("spectrum/app.py").spectrum
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    form = TypedFormat(spectrum.contract)
    kind, body = form.request((tone,), {"gain": 0.5})
    arguments, _ = decoded(spectrum.contract, form_of((("content-type", kind),)), body)

    picture = spectrum(**arguments)
    headers, answer = encoded(spectrum.contract, form_of((("accept", form.accept(kind)),)), picture)
    received = form.value(Answer(status=200, headers=dict(headers), body=bytes(answer)))

    assert (received.shape, received.dtype) == ((61, 257), np.float32)
    assert received.mean(axis=0).argmax() * 16000 / 512 == 1000
    assert (received == picture).all()
    with pytest.raises(ValueError, match="at least 512"):
        spectrum(tone[:511])


def test_compose_asks_its_two_neighbours(example: Callable[[str], ModuleType]) -> None:
    module = example("compose/app.py")
    transport = LocalTransport(module.count, module.keywords)
    call = CallContext(
        request_id="r",
        app="compose",
        endpoint="describe",
        version="1",
        tenant="t",
        klass="standard",
        deadline_ns=0,
        transport=transport,
    )
    token = context.current.set(call)
    try:
        found = module.describe("A plug glows. A cold engine starts; the engine runs.")
    finally:
        context.current.reset(token)

    assert (found.words, found.sentences, found.about) == (10, 2, ["engine", "plug"])
    assert transport.called == ["compose/count", "compose/keywords"]


async def test_files_sends_a_few_at_a_time_and_survives_those_that_fail(
    example: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    client = example("files/client.py")
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text("text" if number else "")
    labels = Labels()

    found = await client.identify_all(client.files_below([str(tmp_path)]), labels)

    assert found[tmp_path / "00.txt"] == "failed: unavailable"
    assert Counter(found.values())["txt"] == 29
    assert 1 < labels.most_under_way <= client.AT_ONCE


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/*.py")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_an_example_fits_on_a_page(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= APP_LINES_MAX
    assert (
        len((path.parent / "README.md").read_text(encoding="utf-8").splitlines()) <= PAGE_LINES_MAX
    )
