"""What do the options of one decorator say, checked and in the units of the records?"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from glowplug.errors import DefinitionError
from glowplug.given import whole_number
from glowplug.image import Image, environment_pairs
from glowplug.names import app_name, endpoint_name
from glowplug.options import (
    CONCURRENCY_MAX,
    Batch,
    EndpointOptions,
    Scale,
    Timeouts,
    Volume,
    gpus,
)
from glowplug.spec import Auth, Class, Device, ImageSpec, Needs, Policy
from glowplug.spec import Timeouts as TimeoutsSpec
from glowplug.suggest import did_you_mean
from glowplug.units import size_bytes

_Kind = TypeVar("_Kind")

SYNC_CONCURRENCY = 1  # a model in one process does one thing at a time
BATCHES_HELD = 2  # by one replica: one runs while the next gathers and is decoded
ASYNC_CONCURRENCY = 100  # coroutines mostly wait

# Planned, and refused until they do something: an option that is silently ignored is worse than one that is missing.
_LATER = {
    "affinity": 'call with `f.using(affinity="…")`',
    "budget": "`scale=Scale(max=…)` bounds the cost",
    "capacity": "replicas run on the machines that the router has",
    "cors": "put a proxy that sets the headers in front",
    "disk": "`glowplug doctor` shows the space there is",
    "domains": "put a proxy in front",
    "engine": "load the model in `@on.load`",
    "engines": "load the model in `@on.load`",
    "grpc": "endpoints speak HTTP",
    "levels": "`scale=Scale(min=1)` keeps one replica hot",
    "max_cost": "`scale=Scale(max=…)` bounds the cost",
    "mcp": "endpoints speak HTTP; /openapi.json describes them",
    "methods": "endpoints take POST",
    "models": "load the model in `@on.load`, into a `Volume`",
    "on_budget": "`scale=Scale(max=…)` bounds the cost",
    "openai": "endpoints take their own arguments as JSON",
    "retry": "`retry_safe=True` runs a call again whose replica died; catch the rest in the caller",
    "route": "the path is /{app}/{endpoint}: set `app` and `name`",
    "schedule": "call it from cron: `glowplug call`",
    "serialized": "put the function into a file",
    "shm": "the node's /dev/shm is there as it is",
    "windows": "`scale=Scale(min=1)` keeps one replica hot",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The options of one endpoint; empty `name` and `app` are derived from the code."""

    name: str
    app: str
    needs: Needs
    policy: Policy
    concurrency: int | None
    batch: Batch | None
    retry_safe: bool
    timeouts: TimeoutsSpec
    image: ImageSpec
    env: tuple[tuple[str, str], ...]
    secrets: tuple[str, ...]
    volumes: tuple[str, ...]
    examples: tuple[Mapping[str, Any], ...]
    description: str
    tags: tuple[tuple[str, str], ...]


def declared(options: EndpointOptions) -> Declared:
    """Check every option and return them as records; refuse by name what is not there (yet)."""
    for name in options:
        _refuse_unknown(name)
    scale = _instance(options.get("scale", Scale()), Scale, "scale", "scale=Scale(min=0, max=4)")
    env = environment_pairs(_mapping(options.get("env"), "env"), "env")
    secrets = _names(options.get("secrets", ()), "secrets")
    both = sorted({name for name, _ in env} & set(secrets))
    if both:
        raise DefinitionError(f"`{both[0]}` is in both env and secrets", hint="keep it in secrets")
    return Declared(
        name=endpoint_name(options["name"]) if "name" in options else "",
        app=app_name(options["app"]) if "app" in options else "",
        needs=_needs(options),
        policy=scale.policy(
            _choice(options.get("auth", "key"), Auth, "auth"),
            _choice(options.get("priority", "standard"), Class, "priority"),
        ),
        concurrency=whole_number(options["concurrency"], "concurrency", 1, CONCURRENCY_MAX)
        if "concurrency" in options
        else None,
        batch=_batch(options["batch"]) if "batch" in options else None,
        retry_safe=_instance(
            options.get("retry_safe", False), bool, "retry_safe", "retry_safe=True"
        ),
        timeouts=_timeouts(options),
        image=_instance(
            options.get("image", Image()), Image, "image", 'image=Image.python().pip("numpy")'
        ).spec,
        env=env,
        secrets=secrets,
        volumes=_volumes(options.get("volumes", ())),
        examples=_examples(options.get("examples", ())),
        description=_instance(
            options.get("description", ""), str, "description", 'description="…"'
        ),
        tags=tuple(sorted(_mapping(options.get("tags"), "tags").items())),
    )


def concurrency_of(asked: Declared, is_async: bool, label: str) -> int:
    """Return how many calls one replica runs at once, and refuse a target it cannot reach."""
    concurrency = asked.concurrency or (ASYNC_CONCURRENCY if is_async else SYNC_CONCURRENCY)
    if asked.batch is not None:
        most = asked.batch.max
        usual = min(BATCHES_HELD * most, CONCURRENCY_MAX)
        concurrency = asked.concurrency or usual
        if concurrency < most:
            raise DefinitionError(
                f"`{label}`: concurrency={concurrency} is less than batch.max={most}: no batch would ever be full",
                hint=f"leave out concurrency (it is then {usual}), or write max={concurrency}",
            )
    target = asked.policy.target_concurrency
    if target > concurrency:
        raise DefinitionError(
            f"`{label}`: scale.target={target:g} is more than the {concurrency} call(s) that a replica runs at once",
            hint=f"set concurrency={int(-(-target // 1))}, or lower the target",
        )
    return concurrency


def check_item_functions(batch: Batch, names: Sequence[str], label: str) -> None:
    """Refuse a `weight` or `key` that could not be called with the arguments of one call."""
    for name, function in (("weight", batch.weight), ("key", batch.key)):
        if function is None:
            continue
        try:
            inspect.signature(function).bind(*names)
        except TypeError:
            wanted = ", ".join(names)
            raise DefinitionError(
                f"`{label}`: batch.{name} cannot be called with one item's ({wanted})",
                hint=f"write {name}=lambda {wanted}: …, with the endpoint's arguments in their order",
            ) from None
        except ValueError:
            continue  # a builtin that does not say what it takes, such as `len` in some releases


def _batch(given: object) -> Batch:
    if isinstance(given, int):
        return Batch(max=whole_number(given, "batch", 1))
    return _instance(given, Batch, "batch", "batch=32 or batch=Batch(max=32)")


def _refuse_unknown(name: str) -> None:
    known = EndpointOptions.__annotations__
    if name in known:
        return
    if name in _LATER:
        raise DefinitionError(f"`{name}` is not there yet", hint=f"instead: {_LATER[name]}")
    raise DefinitionError(f"@endpoint has no option `{name}`", hint=did_you_mean(name, known))


def _needs(options: EndpointOptions) -> Needs:
    count, models = gpus(options.get("gpu"))
    device = _choice(options.get("device", "auto"), Device, "device")
    if device == "cuda" and count == 0:
        raise DefinitionError(
            'device="cuda" without a GPU', hint='add gpu=1 (any model) or gpu="A10G"'
        )
    if device == "cpu" and count > 0:
        raise DefinitionError(
            'device="cpu" with a GPU, which would lie idle', hint="leave out gpu, or device"
        )
    cpu = options.get("cpu", 0)
    if "cpu" in options and (
        isinstance(cpu, bool) or not isinstance(cpu, int | float) or not 0.001 <= cpu <= 1024
    ):
        raise DefinitionError(
            f"cpu={cpu!r} is not a number of cores", hint="write cpu=2 or cpu=0.5"
        )
    memory = size_bytes(options["memory"], "memory") if "memory" in options else 0
    return Needs(
        gpu_count=count,
        gpu_names=models,
        device=device,
        cpu_milli=round(cpu * 1000),
        memory_bytes=memory,
    )


def _timeouts(options: EndpointOptions) -> TimeoutsSpec:
    given = options.get("timeout", Timeouts())
    return given.spec() if isinstance(given, Timeouts) else Timeouts(run=given).spec()


def _volumes(given: object) -> tuple[str, ...]:
    if isinstance(given, str | Volume) or not isinstance(given, Sequence):
        raise DefinitionError(
            f"volumes={given!r} is not a list", hint='write volumes=[Volume("models")]'
        )
    return tuple(
        dict.fromkeys((one if isinstance(one, Volume) else Volume(one)).name for one in given)
    )


def _names(given: object, what: str) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise DefinitionError(
            f"{what}={given!r} is not a list of names", hint=f'write {what}=["NAME"]'
        )
    environment_pairs(dict.fromkeys(given, ""), what)
    return tuple(dict.fromkeys(given))


def _examples(given: object) -> tuple[Mapping[str, Any], ...]:
    if (
        isinstance(given, Mapping)
        or not isinstance(given, Sequence)
        or not all(isinstance(one, Mapping) for one in given)
    ):
        raise DefinitionError(
            f"examples={given!r} is not a list of arguments by name",
            hint='write examples=[{"text": "hello"}]',
        )
    return tuple(given)


def _mapping(given: object, what: str) -> Mapping[str, str]:
    if given is None:
        return {}
    pairs = given.items() if isinstance(given, Mapping) else [(None, None)]
    if not all(isinstance(name, str) and isinstance(value, str) for name, value in pairs):
        raise DefinitionError(
            f"{what}={given!r} is not a dict from text to text",
            hint=f'write {what}={{"NAME": "value"}}',
        )
    return dict(pairs)


def _instance(given: object, kind: type[_Kind], what: str, example: str) -> _Kind:
    if not isinstance(given, kind):
        raise DefinitionError(f"{what}={given!r} is not a {kind.__name__}", hint=f"write {example}")
    return given


def _choice(given: Any, choices: Any, what: str) -> Any:
    known = get_args(choices)
    if given not in known:
        raise DefinitionError(
            f"{what}={given!r} is not one of {', '.join(map(repr, known))}",
            hint=did_you_mean(str(given), known),
        )
    return given
