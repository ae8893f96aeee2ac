"""Which code answers the calls, and how is it loaded, tried and replaced?

A program is the user's endpoint in this process: found by "module:qualname", its contract compiled once, its instance
made and loaded. Everything here that touches user code runs where the caller says (a compute thread or the loop).
"""

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import msgspec

from glowplug.codec import encode_item, encode_response
from glowplug.context import Context
from glowplug.endpoints import DeclaredEndpoint
from glowplug.errors import NodeError
from glowplug.hooks import HookKind, hooks_of, takes_context
from glowplug.lists import singly
from glowplug.schema import Contract
from glowplug.spec import EndpointSpec
from glowplug.worker.offline import called_out

WARM_ITEMS_MAX = 64  # items of a stream that a warm-up takes before it closes the generator

Seed = tuple[int, int, int]  # calls, units, nanoseconds
OnThread = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(slots=True)
class Program:
    """The endpoint of this rank. `run` is what a call calls: the function, or the loaded instance."""

    spec: EndpointSpec
    endpoint: DeclaredEndpoint[..., Any]
    contract: Contract
    run: Callable[..., Any]
    hooks: Mapping[HookKind, str]
    seeds: Sequence[Seed] = ()  # what batches of the examples took

    @property
    def single(self) -> Callable[..., Any]:
        """Return the code as one that takes a single call."""
        return singly(self.contract.label, self.run) if self.spec.batch.max else self.run

    def hook(self, kind: HookKind, context: Context) -> Callable[[], Any] | None:
        """Return the hook with its arguments, ready to be called; None if the class has none of that kind."""
        name = self.hooks.get(kind)
        if name is None:
            return None
        method = getattr(self.run, name)
        return (lambda: method(context)) if takes_context(method) else method

    def is_async_hook(self, kind: HookKind) -> bool:
        """Say whether a hook must run on the loop."""
        return kind in self.hooks and inspect.iscoroutinefunction(
            getattr(self.run, self.hooks[kind])
        )


def find(spec: EndpointSpec) -> DeclaredEndpoint[..., Any]:
    """Import the module and return the endpoint in it; raises whatever the user's module raises."""
    module_name, _, qualname = spec.target.partition(":")
    found: Any = importlib.import_module(module_name)
    for name in qualname.split("."):
        found = getattr(found, name)
    if not isinstance(found, DeclaredEndpoint):
        raise NodeError(
            f"{spec.target} is not an endpoint but {found!r}",
            hint="was the decorator removed? deploy again",
        )
    return found


def prepare(spec: EndpointSpec, endpoint: DeclaredEndpoint[..., Any]) -> Program:
    """Compile the contract and make the instance; on.load has not run yet."""
    target = endpoint.target
    hooks: Mapping[HookKind, str] = {}
    run = target
    if spec.kind == "class":
        hooks, run = hooks_of(target), target()
    return Program(spec=spec, endpoint=endpoint, contract=endpoint.contract, run=run, hooks=hooks)


def graft(spec: EndpointSpec, endpoint: DeclaredEndpoint[..., Any], old: Program) -> Program:
    """Return the new code around the old, loaded instance.

    Raises:
        NodeError: The two cannot be one object: another kind of endpoint, or another memory layout.
    """
    if spec.kind != old.spec.kind or spec.is_async != old.spec.is_async:
        raise NodeError(f"{spec.target} changed its kind; it needs a new process", code="conflict")
    target = endpoint.target
    if spec.kind == "function":
        return Program(
            spec=spec,
            endpoint=endpoint,
            contract=endpoint.contract,
            run=target,
            hooks={},
            seeds=old.seeds,
        )
    contract, hooks = endpoint.contract, hooks_of(target)
    try:
        old.run.__class__ = target
    except TypeError as error:
        raise NodeError(
            f"the loaded object cannot become the new {spec.target}: {error}", code="conflict"
        ) from error
    return Program(
        spec=spec,
        endpoint=endpoint,
        contract=contract,
        run=old.run,
        hooks=hooks,
        seeds=old.seeds,
    )


async def warm(program: Program, on_thread: OnThread) -> int:
    """Run every example through decoding, the endpoint and encoding; return how many were left out.

    An example that calls another endpoint is left out: nobody can be asked yet. The deploy's own exercise runs it.
    """
    left_out = 0
    for example in program.spec.examples:
        text = msgspec.json.encode(example)
        try:
            if program.spec.is_async:
                await _warm_async(program, text)
            else:
                await on_thread(lambda text=text: _warm_sync(program, text))  # type: ignore[misc]  # a default binds the loop's value
        except Exception as error:  # the user's own exception may wrap the refusal
            if not called_out(error):
                raise
            left_out += 1
    return left_out


def _warm_sync(program: Program, text: bytes) -> None:
    answer = program.single(**program.contract.arguments_from_json(text))
    if not program.contract.schema.streams:
        encode_response(program.contract, answer)
        return
    try:
        for number, item in enumerate(answer, 1):
            encode_item(program.contract, item, "raw" if program.contract.yields_bytes else "sse")
            if number >= WARM_ITEMS_MAX:
                break
    finally:
        answer.close()


async def _warm_async(program: Program, text: bytes) -> None:
    answer = program.single(**program.contract.arguments_from_json(text))
    if not program.contract.schema.streams:
        encode_response(program.contract, await answer)
        return
    number = 0
    try:
        async for item in answer:
            encode_item(program.contract, item, "raw" if program.contract.yields_bytes else "sse")
            number += 1
            if number >= WARM_ITEMS_MAX:
                break
    finally:
        await answer.aclose()


# -- modules -------------------------------------------------------------------------------------------


class SwappedModules:
    """Imports of the user's own modules again, from a new folder; `undo` puts the old ones back."""

    def __init__(self, old_path: str, new_path: str) -> None:
        self._old_path, self._new_path = old_path, new_path
        self._old_sys_path = list(sys.path)
        self._old = {
            name: module for name, module in sys.modules.items() if is_local(module, old_path)
        }
        for name in self._old:
            del sys.modules[name]
        sys.path[:] = [new_path, *(one for one in sys.path if one not in (old_path, new_path))]
        importlib.invalidate_caches()

    def undo(self) -> None:
        """Forget the new modules and bring the old ones back."""
        for name in [
            name for name, module in sys.modules.items() if is_local(module, self._new_path)
        ]:
            del sys.modules[name]
        sys.modules.update(self._old)
        sys.path[:] = self._old_sys_path
        importlib.invalidate_caches()


def is_local(module: ModuleType | None, code_path: str) -> bool:
    """Say whether a module is the user's own: its file lies under the code folder, and in no environment there."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        paths = list(getattr(module, "__path__", ()))  # a namespace package has folders and no file
        file = paths[0] if paths else ""
    # Text, not paths: this runs for thousands of modules while a caller waits for the start.
    root = code_path.rstrip("/")
    return (file == root or file.startswith(f"{root}/")) and "/site-packages/" not in file


def third_party(code_path: str) -> tuple[str, ...]:
    """Return the modules that a zygote should import before it forks, in the order in which they were imported.

    Submodules too: packages that load their parts on first use (pydantic, scipy, transformers) cost most there.
    """
    skip = {
        "glowplug",
        "glowplug_packager",
        "glowplug_router",
        "__main__",
        "__mp_main__",
    } | sys.stdlib_module_names
    found = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in skip or getattr(module, "__spec__", None) is None:
            continue
        if name.endswith(".__main__"):
            continue  # importing it again would run a program
        if not is_local(module, code_path):
            found.append(name)
    return tuple(found)
