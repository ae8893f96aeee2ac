"""What can one ask for in `@endpoint(...)`, beside the code?"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from glowplug.clock import SECOND
from glowplug.errors import DefinitionError
from glowplug.given import ByName, whole_number
from glowplug.image import Image
from glowplug.names import resource_name
from glowplug.scaling import COUNT_MAX as COUNT_MAX
from glowplug.scaling import REPLICAS_MAX as REPLICAS_MAX
from glowplug.scaling import Scale as Scale
from glowplug.scaling import Target as Target
from glowplug.scaling import Window as Window
from glowplug.spec import Auth, BatchSpec, Class, Device
from glowplug.spec import Timeouts as TimeoutsSpec
from glowplug.suggest import near
from glowplug.units import Duration, Size, duration_ns

Gpus = int | str | Sequence[str] | None
OnItemError = Literal["isolate", "fail"]

GPU_MODELS = (
    *(
        "T4",
        "T4G",
        "V100",
        "P100",
        "L4",
        "L40",
        "L40S",
        "A10",
        "A10G",
        "A16",
        "A30",
        "A40",
        "A100",
        "A100-40GB",
        "A100-80GB",
    ),
    *(
        "H100",
        "H200",
        "GH200",
        "B200",
        "GB200",
        "B300",
        "RTX3090",
        "RTX4090",
        "RTX5090",
        "RTX6000",
        "RTXPRO6000",
    ),
)  # what people rent and own; a typo must not become an endpoint that never starts
GPUS_MAX = 16  # in one machine, today
CONCURRENCY_MAX = 10_000  # calls at once in one replica, so also in one batch
WAIT_MAX_NS = 10 * SECOND  # of a batch; more is a slip of a unit


class EndpointOptions(TypedDict, total=False):
    """Every option that `@endpoint(...)` takes."""

    name: str  # default: the function's, with - for _
    app: str  # default: the file's, or its folder's for app.py and main.py
    gpu: Gpus  # 1, "A10G", "A10G:2", ["L4", "A10G"]
    device: Device
    cpu: float  # cores
    memory: Size  # "8GiB"
    scale: Scale
    concurrency: int  # calls at once in one replica
    batch: "Batch | int"  # the code takes lists: so many calls run as one
    timeout: "Timeouts | Duration"  # a bare duration limits the run
    retry_safe: bool  # running twice is harmless: a call whose replica dies is tried on another
    auth: Auth
    priority: Class  # of calls that do not say; "batch" makes way for all others
    env: Mapping[str, str]
    secrets: Sequence[str]  # names; the values are set on the router
    volumes: "Sequence[Volume | str]"
    examples: Sequence[
        Mapping[str, Any]
    ]  # arguments by name: they warm up, smoke-test and document
    description: str  # default: the docstring; its first paragraph is the summary
    tags: Mapping[str, str]
    image: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts(ByName):
    """Three limits that never mean each other: waiting for a replica, starting one, running the call."""

    queue: Duration = "60s"
    start: Duration = "10m"
    run: Duration = "5m"

    def __post_init__(self) -> None:
        self.spec()

    def spec(self) -> TimeoutsSpec:
        """Return the record in nanoseconds."""
        limits = {
            name: duration_ns(getattr(self, name), f"timeout.{name}")
            for name in ("queue", "start", "run")
        }
        for name, ns in limits.items():
            if ns == 0:
                raise DefinitionError(
                    f"timeout.{name} is 0: every call would fail", hint="write a duration above 0"
                )
        return TimeoutsSpec(
            queue_ns=limits["queue"], start_ns=limits["start"], run_ns=limits["run"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(ByName):
    """Calls that run as one: the code takes a list for each parameter and returns a list, entry i for call i.

    Args:
        max: most calls in one batch.
        wait: how long a batch that is not full may be held while the device is idle; 0 is best on a device of its own.
        weight: how large one item is, of the arguments in their order: `lambda text: len(text)`. Must be quick.
        weight_max: most weight of one batch: its calls times the heaviest (or their sum, when `packed`).
        key: only calls with equal keys share a batch: `lambda image, size: size`. Must be quick, its result hashable.
        buckets: sizes the engine was built for; a batch is filled up to the next by repeating its last item.
        packed: the code does not pad, so a batch costs the sum of its weights.
        adaptive: sizes follow the learned cost and the callers' deadlines; False: as full as can be, always.
        on_item_error: "isolate" runs a batch that fails again in halves, until only the items at fault fail (the code
            may see an item again); "fail" fails all of its calls.
    """

    max: int = 32
    wait: Duration = "0ms"
    weight: "Callable[..., float] | None" = None
    weight_max: int = 0
    key: "Callable[..., Hashable] | None" = None
    buckets: Sequence[int] = ()
    packed: bool = False
    adaptive: bool = True
    on_item_error: OnItemError = "isolate"

    def __post_init__(self) -> None:
        self.spec()

    def spec(self) -> BatchSpec:
        """Return the record; the functions stay in the code."""
        whole_number(self.max, "batch.max", 1, CONCURRENCY_MAX)
        for name in ("weight", "key"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                raise DefinitionError(
                    f"batch.{name}={function!r} is not a function of one item",
                    hint=f"write {name}=lambda text: len(text), with the arguments of the endpoint",
                )
        if self.weight is None and (self.weight_max or self.packed):
            name = "packed" if self.packed else "weight_max"
            raise DefinitionError(
                f"batch.{name} without batch.weight: nobody knows how large an item is",
                hint="add weight=lambda text: len(text)",
            )
        if self.on_item_error not in get_args(OnItemError):
            raise DefinitionError(
                f"batch.on_item_error={self.on_item_error!r} is not one of 'isolate', 'fail'",
                hint='"isolate" lets the other calls of a batch succeed',
            )
        return BatchSpec(
            max=self.max,
            wait_ns=_wait_ns(self.wait),
            weight_max=whole_number(self.weight_max, "batch.weight_max", 0),
            buckets=_buckets(self.buckets, self.max, packed=self.packed),
            is_weighed=self.weight is not None,
            is_keyed=self.key is not None,
            packed=self.packed,
            adaptive=self.adaptive,
            isolate=self.on_item_error == "isolate",
        )


@dataclass(frozen=True, slots=True)
class Volume:
    """A named cache directory of the node; `ctx.volumes["name"]` is its path."""

    name: str

    def __post_init__(self) -> None:
        resource_name(self.name, "volume")


def _wait_ns(given: Duration) -> int:
    if isinstance(given, int | float) and given:
        raise DefinitionError(
            f"batch.wait={given!r} would be seconds", hint=f'write wait="{given:g}ms" with its unit'
        )
    wait_ns = duration_ns(given, "batch.wait")
    if wait_ns > WAIT_MAX_NS:
        raise DefinitionError(
            f"batch.wait={given!r} holds every call of an idle replica that long",
            hint="write a few milliseconds, or leave it out: what arrives while a batch runs is the next batch",
        )
    return wait_ns


def _buckets(given: Sequence[int], most: int, *, packed: bool) -> tuple[int, ...]:
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise DefinitionError(
            f"batch.buckets={given!r} is not a list of sizes",
            hint="write buckets=[1, 4, 8, 16, 32]",
        )
    buckets = tuple(sorted({whole_number(one, "batch.buckets", 1) for one in given}))
    if not buckets:
        return ()
    if packed:
        raise DefinitionError(
            "batch.buckets with batch.packed: a packed batch has no rows to fill up",
            hint="leave out one of the two",
        )
    if buckets[-1] != most:
        more = "over" if buckets[-1] > most else "below"
        raise DefinitionError(
            f"batch.buckets end with {buckets[-1]}, {more} batch.max={most}",
            hint=f"write max={buckets[-1]}, or end the buckets with {most}",
        )
    return buckets


def gpus(given: Gpus) -> tuple[int, tuple[str, ...]]:
    """Return how many GPUs, and the models that will do in order of preference (none named: any)."""
    if given is None:
        return 0, ()
    if isinstance(given, int):
        count = whole_number(given, "gpu", 0)
        _check_gpu_count(count)
        return count, ()
    entries = [_gpu_entry(one) for one in ([given] if isinstance(given, str) else list(given))]
    counts = {count for count, _ in entries}
    if len(counts) != 1:
        raise DefinitionError(
            f"gpu={given!r}: every entry must ask for the same number",
            hint='write gpu=["L4:2", "A10G:2"]',
        )
    return counts.pop(), tuple(dict.fromkeys(model for _, model in entries))


def _gpu_entry(entry: object) -> tuple[int, str]:
    if not isinstance(entry, str):
        raise DefinitionError(
            f"gpu={entry!r} is not a GPU",
            hint='write gpu=1, gpu="A10G", gpu="A10G:2" or gpu=["L4", "A10G"]',
        )
    name, colon, number = entry.partition(":")
    models = {model.casefold(): model for model in GPU_MODELS}
    model = models.get(name.strip().casefold())
    if model is None:
        meant = near(name, GPU_MODELS, 0.5)
        raise DefinitionError(
            f"gpu={entry!r}: there is no GPU model {name!r} in the list",
            hint=f"did you mean {' or '.join(meant)}?"
            if meant
            else f"known are {', '.join(GPU_MODELS)}; gpu=1 takes any",
        )
    if colon and not number.isdecimal():
        raise DefinitionError(
            f"gpu={entry!r}: {number!r} is not a number of GPUs", hint=f'write "{model}:2"'
        )
    count = int(number) if colon else 1
    _check_gpu_count(count, least=1)
    return count, model


def _check_gpu_count(count: int, least: int = 0) -> None:
    if not least <= count <= GPUS_MAX:
        raise DefinitionError(
            f"gpu: {count} GPUs in one replica", hint=f"ask for {least} to {GPUS_MAX}"
        )
