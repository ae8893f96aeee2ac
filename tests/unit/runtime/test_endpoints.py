"""What does the decorator make of functions and classes, and what does it refuse?"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from glowplug import Context, Endpoint, Scale, context, endpoint, on
from glowplug.endpoints import DESCRIPTION_MAX, ClassEndpoint, DeclaredEndpoint
from glowplug.errors import DefinitionError
from glowplug.testing import local


@endpoint
def half_of(x: int, y: str = "a") -> float:
    """Halve a number.

    More about it.
    """
    return x / 2


@endpoint(app="maths", name="twice", concurrency=3, scale=Scale(target=2), examples=[{"x": 4}])
async def double(x: int) -> int:
    return 2 * x


@endpoint
def triple(x: int) -> int:
    """Triple a number.

    Slowly:
        by adding.
    """
    return x + x + x


@endpoint(description="so " * DESCRIPTION_MAX)
def triple_at_length(x: int) -> int:
    return 3 * x


@endpoint
def count(n: int) -> Iterator[int]:
    yield from range(n)


@endpoint
async def acount(n: int) -> AsyncIterator[int]:
    for one in range(n):
        yield one


@endpoint(gpu=1, volumes=["models"])
class ImageTagger:
    """Tag images."""

    LIMIT = 3

    def __init__(self) -> None:
        self.steps: list[str] = []

    @on.load
    def load(self, ctx: Context) -> None:
        self.steps.append(f"load {ctx.device} {sorted(ctx.volumes)}")

    @on.warm
    async def warm(self) -> None:
        self.steps.append("warm")

    @on.unload
    def unload(self) -> None:
        self.steps.append("unload")

    def __call__(self, text: str) -> list[str]:
        return [*self.steps, text]


def define(source: str) -> DeclaredEndpoint[..., Any]:
    """Return the endpoint `f` of a module with this text."""
    space: dict[str, Any] = {"__name__": "somewhere"}
    exec("from glowplug import *\nfrom typing import *\n" + source, space)
    found = space["f"]
    assert isinstance(found, DeclaredEndpoint)
    return found


def test_a_plain_call_is_local() -> None:
    assert half_of(3) == 1.5
    assert list(count(3)) == [0, 1, 2]
    assert half_of.__name__ == "half_of"
    assert half_of.__doc__ is not None


def test_the_spec_says_what_runs() -> None:
    spec = half_of.spec

    assert (spec.app, spec.name, spec.kind) == ("test-endpoints", "half-of", "function")
    assert spec.target.endswith("test_endpoints:half_of")
    assert spec.description == "Halve a number.\n\nMore about it."
    assert spec.schema.request["required"] == ["x"]
    assert spec.schema.response == {"type": "number"}
    assert spec.concurrency == 1


def test_the_description_is_the_whole_docstring_dedented_and_bounded() -> None:
    bounded = triple_at_length.spec.description

    assert triple.spec.description == "Triple a number.\n\nSlowly:\n    by adding."
    assert bounded == ("so " * DESCRIPTION_MAX)[:DESCRIPTION_MAX]


def test_options_reach_spec_and_policy() -> None:
    assert (double.spec.app, double.spec.name, double.spec.concurrency) == ("maths", "twice", 3)
    assert double.spec.examples == ({"x": 4},)
    assert double.spec.is_async
    assert double.policy.target_concurrency == 2.0


def test_concurrency_is_one_for_blocking_code_and_a_hundred_for_coroutines() -> None:
    assert half_of.spec.concurrency == 1
    assert acount.spec.concurrency == 100


def test_a_generator_streams_items() -> None:
    assert count.spec.schema.streams
    assert count.spec.schema.item == {"type": "integer"}
    assert count.spec.schema.response is None
    assert acount.spec.is_async


def test_a_class_is_an_endpoint_with_hooks() -> None:
    tagger: Any = ImageTagger

    assert tagger.spec.kind == "class"
    assert tagger.spec.name == "image-tagger"
    assert set(tagger.spec.hooks) == {"load", "warm", "unload"}
    assert tagger.LIMIT == 3


def test_calling_a_class_makes_a_plain_instance_whose_hooks_have_not_run() -> None:
    tagger: Any = ImageTagger

    assert isinstance(tagger, ClassEndpoint)
    assert tagger()("x") == ["x"]


def test_a_decorated_class_can_be_subclassed() -> None:
    class Other(ImageTagger):
        LIMIT = 4

    assert Other().steps == []
    assert Other.LIMIT == 4


def test_testing_local_runs_the_hooks_around_the_calls() -> None:
    tagger: Any = define(
        "log = []\n"
        "@endpoint\nclass f:\n"
        "  @on.load\n  def a(self): log.append('load')\n"
        "  @on.warm\n  async def b(self, ctx): log.append('warm')\n"
        "  @on.drain\n  def c(self, ctx): log.append('drain ' + ctx.reason)\n"
        "  @on.unload\n  def d(self): log.append('unload')\n"
        "  def __call__(self, x: int) -> list[str]: return list(log)\n"
    )

    ready: Any
    with local(tagger) as ready:
        assert ready(1) == ["load", "warm"]
    assert tagger.target.__call__.__globals__["log"] == ["load", "warm", "drain stop", "unload"]


def test_a_failing_check_is_said_and_the_model_unloaded() -> None:
    unfit: Any = define(
        "@endpoint\nclass f:\n  @on.check\n  def fit(self): return False\n"
        "  def __call__(self, x: int) -> int: return x\n"
    )

    with pytest.raises(DefinitionError, match="not fit"), local(unfit):
        pass


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@endpoint\ndef f(x, y: int) -> int: ...", "`x` of `f` has no annotation"),
        ("@endpoint\ndef f(x: int): ...", "does not say what it returns"),
        ("@endpoint\ndef f(*xs: int) -> int: ...", r"takes `\*xs`"),
        ("@endpoint\ndef f(**xs: int) -> int: ...", r"takes `\*\*xs`"),
        ("@endpoint\ndef f(x: int, /) -> int: ...", "positional-only"),
        ("def g():\n  @endpoint\n  def f(x: int) -> int: ...\ng()", "not at the top level"),
        ("@endpoint\nclass f:\n  def run(self): ...", "no method `__call__`"),
        (
            "@endpoint\nclass f:\n  def __init__(self, n): ...\n  def __call__(self) -> int: ...",
            "__init__` needs `n`",
        ),
        ("f = endpoint(3)", "stands above a function or a class"),
        ("@endpoint\ndef f(x: int) -> int:\n  yield 1", "yields, but says"),
        (
            "class T: ...\n@endpoint\ndef f(x: T) -> int: ...",
            "the parameter `x` of `f` cannot travel",
        ),
        (
            "class T: ...\n@endpoint\ndef f(x: int) -> list[T]: ...",
            "the answer of `f` cannot travel",
        ),
        (
            "@endpoint(examples=[{'x': 'no'}])\ndef f(x: int) -> int: ...",
            r"examples\[0\] does not fit `f`: x:",
        ),
        (
            "@endpoint(examples=[{'z': 1}])\ndef f(x: int) -> int: ...",
            r"examples\[0\] does not fit",
        ),
        (
            "@endpoint(scale=Scale(target=2))\ndef f(x: int) -> int: ...",
            "target=2 is more than the 1 call",
        ),
        ("@endpoint\n@endpoint\ndef f(x: int) -> int: ...", "an endpoint already"),
        (
            "@endpoint\nclass f:\n  @on.load\n  def a(self, b, c): ...\n  def __call__(self) -> int: ...",
            "takes 3 arguments",
        ),
        (
            (
                "@endpoint\nclass f:\n  @on.load\n  def a(self): ...\n  @on.load\n  def b(self): ...\n"
                "  def __call__(self) -> int: ..."
            ),
            "two `on.load` hooks",
        ),
    ],
)
def test_what_could_not_work_is_refused_where_it_is_written(source: str, said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as refused:
        define(source)

    assert refused.value.hint


def test_a_type_that_is_defined_further_down_is_resolved_later() -> None:
    found = define(
        "@endpoint\ndef f(x: 'Later') -> int: ...\nclass Later(TypedDict): ...\nLater = int\n"
    )

    assert found.spec.schema.request["properties"]["x"]["type"] == "integer"


def test_a_type_that_is_never_defined_is_named() -> None:
    with pytest.raises(DefinitionError, match="mentions `Never2`") as refused:
        _ = define("@endpoint\ndef f(x: 'Never2') -> int: ...").spec

    assert "TYPE_CHECKING" in refused.value.hint


def test_a_misspelt_hook_suggests_the_right_one() -> None:
    with pytest.raises(AttributeError, match=r"on\.lod") as refused:
        _ = on.lod

    assert "`load`" in str(refused.value)
    assert not hasattr(on, "sleep")


def test_a_stream_is_not_called_and_a_call_not_streamed() -> None:
    with pytest.raises(DefinitionError, match="yields its answer in pieces"):
        count.remote(3)
    with pytest.raises(DefinitionError, match="answers at once"):
        half_of.stream(3)


def test_an_endpoint_without_an_app_of_its_own_belongs_to_the_calling_app() -> None:
    call = context.CallContext(
        request_id="r",
        app="caller",
        endpoint="e",
        version="v1",
        tenant="t",
        klass="standard",
        deadline_ns=0,
    )
    token = context.current.set(call)
    try:
        assert half_of.spec.app == "caller"
        assert double.spec.app == "maths"
    finally:
        context.current.reset(token)


def test_lookup_needs_a_full_name_and_knows_no_spec() -> None:
    found = Endpoint.lookup("maths/twice", version="v2")

    with pytest.raises(DefinitionError, match="found by name"):
        _ = found.spec
    with pytest.raises(DefinitionError, match="does not name an endpoint"):
        Endpoint.lookup("twice")


def test_using_changes_calls_and_nothing_else() -> None:
    urgent = half_of.using(deadline="2s", priority="critical", affinity="session-7")

    assert urgent(3) == 1.5
    assert urgent.spec == half_of.spec
    with pytest.raises(DefinitionError, match="priority="):
        half_of.using(priority="urgent")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(DefinitionError, match="affinity="):
        half_of.using(affinity="a" * 129)


def test_an_endpoint_class_called_with_arguments_is_met_with_the_three_right_forms() -> None:
    with pytest.raises(DefinitionError, match="takes no arguments: it is not a call") as caught:
        ImageTagger("x")  # type: ignore[call-arg]  # the mistake

    assert "`ImageTagger()` makes an instance" in caught.value.hint
    assert "`ImageTagger.local()` makes a loaded one" in caught.value.hint
    assert "`ImageTagger.remote(...)` calls the deployed one" in caught.value.hint


def größe(x: int) -> int:
    return x


def test_a_name_that_would_lose_letters_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(DefinitionError, match="has letters beyond a-z") as caught:
        endpoint(größe)

    assert '@endpoint(name="grosse")' in caught.value.hint
    assert endpoint(name="size")(größe).spec.name == "size"
