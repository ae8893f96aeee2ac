"""Which methods of a class endpoint run around its calls, and when?

`@on.load` once, before anything else · `@on.warm` until the first answer is quick · `@on.check` says whether the
replica is fit to serve (False or an exception: it is not) · `@on.drain` when it is told to go · `@on.unload` last.
Each takes `self`, or `self` and a `glowplug.Context`; each may be `async`.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

from glowplug.context import Context
from glowplug.errors import DefinitionError
from glowplug.suggest import did_you_mean

HookKind = Literal["load", "warm", "check", "drain", "unload"]
HOOK_KINDS: tuple[HookKind, ...] = get_args(HookKind)

_MARK = "__glowplug_hook__"
_LATER = ("build", "sleep", "wake", "reconfigure")
_Method = TypeVar("_Method", bound=Callable[..., Any])


class UnknownNameError(DefinitionError, AttributeError):
    """There is no such attribute here; an AttributeError as well, so that `hasattr` stays honest."""


class _On:
    """The namespace `on`."""

    def load(self, method: _Method) -> _Method:
        """Run the method once when a replica starts: load the model here."""
        return _marked(method, "load")

    def warm(self, method: _Method) -> _Method:
        """Run the method after `load`; a replica takes no calls before it has returned."""
        return _marked(method, "warm")

    def check(self, method: _Method) -> _Method:
        """Run the method before the first call and from time to time; False or an exception means unfit."""
        return _marked(method, "check")

    def drain(self, method: _Method) -> _Method:
        """Run the method when the replica is told to go; `ctx.reason` and `ctx.deadline_s` say why and how long."""
        return _marked(method, "drain")

    def unload(self, method: _Method) -> _Method:
        """Run the method as the last thing before the process ends."""
        return _marked(method, "unload")

    def __getattr__(self, name: str) -> Any:
        if name in _LATER:
            raise UnknownNameError(
                f"`on.{name}` is not there yet",
                hint=f"there is {', '.join(f'`on.{kind}`' for kind in HOOK_KINDS)}",
            )
        raise UnknownNameError(f"there is no hook `on.{name}`", hint=did_you_mean(name, HOOK_KINDS))


on = _On()


def hooks_of(cls: type) -> dict[HookKind, str]:
    """Return the method that runs for each kind of hook the class defines."""
    found: dict[HookKind, str] = {}
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        kind = getattr(method, _MARK, None)
        if kind is None:
            continue
        if kind in found:
            raise DefinitionError(
                f"`{cls.__name__}` has two `on.{kind}` hooks: `{found[kind]}` and `{name}`",
                hint="call one from the other",
            )
        _check_signature(cls, name, method)
        found[kind] = name
    return found


def run_hook(instance: object, kind: HookKind, context: Context) -> Any:
    """Run one hook of an instance here and now, if it has one; an async one runs to its end in a loop of its own."""
    name = hooks_of(type(instance)).get(kind)
    if name is None:
        return None
    method = getattr(instance, name)
    arguments = (context,) if takes_context(method) else ()
    if not inspect.iscoroutinefunction(method):
        return method(*arguments)
    from anyio.from_thread import (
        start_blocking_portal,
    )  # lazily: works whether or not this thread has a loop

    with start_blocking_portal() as portal:
        return portal.call(method, *arguments)


def takes_context(bound_hook: Callable[..., Any]) -> bool:
    """Say whether a hook, bound to its instance, asks for the `Context`."""
    return len(inspect.signature(bound_hook).parameters) > 0


def _marked(method: _Method, kind: HookKind) -> _Method:
    if not inspect.isfunction(method):
        raise DefinitionError(
            f"`on.{kind}` takes a method, not {method!r}",
            hint=f"write `@on.{kind}` above `def {kind}(self): …`",
        )
    setattr(method, _MARK, kind)
    return method


def _check_signature(cls: type, name: str, method: Any) -> None:
    required = [
        one for one in inspect.signature(method).parameters.values() if one.default is one.empty
    ]
    if not 1 <= len(required) <= 2:
        raise DefinitionError(
            f"the hook `{cls.__name__}.{name}` takes {len(required)} arguments",
            hint=f"a hook takes `self`, or `self` and the context: `def {name}(self, ctx)`",
        )
