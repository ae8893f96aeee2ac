"""How does a function or class become an endpoint? With `@endpoint` above it, bare or with options."""

import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from types import ModuleType
from typing import TYPE_CHECKING, Any, Never, Protocol, TypeVar, Unpack, cast, overload

from glowplug import context
from glowplug.context import Context
from glowplug.declare import check_item_functions, concurrency_of, declared
from glowplug.errors import CallError, DefinitionError
from glowplug.hooks import run_hook
from glowplug.lists import rows_of
from glowplug.names import app_name_of_file, name_of_code
from glowplug.options import Batch, EndpointOptions
from glowplug.remote import Callee, Endpoint, L, P, Route
from glowplug.settings import home, variable
from glowplug.signature import importable_module, shape_of, source_file
from glowplug.spec import BatchSpec, EndpointDecl, EndpointSpec, Json, Policy

if TYPE_CHECKING:
    from glowplug.calls import CallFormat
    from glowplug.schema import Contract

__all__ = ["ClassEndpoint", "DeclaredEndpoint", "Endpoint", "FunctionEndpoint", "endpoint"]

T = TypeVar("T")
DESCRIPTION_MAX = 4_000  # characters kept of a docstring: it travels in specs and documents


class DeclaredEndpoint(Endpoint[P, L]):
    """An endpoint whose code is here."""

    def __init__(self, target: Any, options: EndpointOptions) -> None:
        self._target = target
        self._asked = declared(options)
        self._shape = shape_of(target, takes_lists=self._asked.batch is not None)
        self._concurrency = concurrency_of(self._asked, self._shape.is_async, self._shape.label)
        if self._asked.batch is not None:
            names = [one.name for one in self._shape.parameters]
            check_item_functions(self._asked.batch, names, self._shape.label)
        name = self._asked.name or name_of_code(_dashed(target.__name__))
        super().__init__(Route(endpoint=name))
        self._contract: Contract | None = None
        self._examples: tuple[Json, ...] = ()
        self._compile()
        self.__name__: str = target.__name__
        update_wrapper(cast(Any, self), target, updated=())

    @property
    def contract(self) -> "Contract":
        """Return the compiled signature; the replica's codec works with it."""
        self._compile()
        if self._contract is None:
            raise self._unresolved()
        return self._contract

    @property
    def target(self) -> Any:
        """Return the plain function or class, as it was before the decorator."""
        return self._target

    @property
    def batch(self) -> Batch | None:
        """Return how calls run together, with the functions that look at them; None where each runs by itself."""
        return self._asked.batch

    @property
    def has_own_app(self) -> bool:
        """Say whether the decorator names the app; otherwise the file that is deployed does."""
        return bool(self._asked.app)

    @property
    def spec(self) -> EndpointSpec:
        """Return what runs. The load key is added by discovery, which has the source."""
        return self.declare().spec

    @property
    def policy(self) -> Policy:
        """Return how many run and who may call."""
        return self._asked.policy

    def declare(self, app: str = "", target: str = "") -> EndpointDecl:
        """Return the records; `app` is for an endpoint that names none itself, `target` where it is bound elsewhere."""
        asked, shape = self._asked, self._shape
        contract = self.contract
        spec = EndpointSpec(
            app=asked.app or app or self._app(),
            name=self._route.endpoint,
            target=target or f"{importable_module(shape.module)}:{self._target.__qualname__}",
            kind=shape.kind,
            is_async=shape.is_async,
            schema=contract.schema,
            needs=asked.needs,
            image=asked.image,
            concurrency=self._concurrency,
            batch=asked.batch.spec() if asked.batch is not None else BatchSpec(),
            retry_safe=asked.retry_safe,
            timeouts=asked.timeouts,
            env=asked.env,
            secrets=asked.secrets,
            volumes=asked.volumes,
            hooks=shape.hooks,
            examples=self._examples,
            description=_described(asked.description or self._target.__doc__),
            tags=asked.tags,
        )
        return EndpointDecl(spec=spec, policy=asked.policy)

    def _compile(self) -> None:
        """Compile the signature, unless it mentions a name that the module has yet to define."""
        if self._contract is not None:
            return
        from glowplug.schema import contract_of  # lazily: pydantic

        contract = contract_of(self._shape)
        if contract is not None:
            self._examples = tuple(
                self._example(contract, number, one)
                for number, one in enumerate(self._asked.examples)
            )
            self._contract = contract

    def _example(self, contract: "Contract", number: int, arguments: Any) -> Json:
        try:
            return json.loads(contract.json_of_arguments(arguments))
        except CallError as error:
            raise DefinitionError(
                f"examples[{number}] does not fit `{self._shape.label}`: {error.message}",
                hint="correct the example or the signature",
            ) from None

    def _unresolved(self) -> DefinitionError:
        try:
            typing.get_type_hints(self._shape.function)
        except NameError as error:
            missing = f"`{error.name}`" if error.name else str(error)
            return DefinitionError(
                f"the signature of `{self._shape.label}` mentions {missing}, unknown in {self._shape.module}",
                hint="import it for real: under `if TYPE_CHECKING:` it does not exist when the endpoint runs",
            )
        raise AssertionError(self._shape.label)

    def _app(self) -> str:
        """Return the app: as declared, else of the call this code runs for, else of the process, else of the file."""
        call = context.current.get()
        inherited = call.app if call is not None else variable("GLOWPLUG_APP")
        return self._asked.app or inherited or app_name_of_file(source_file(self._shape.module))

    def _home(self) -> ModuleType | None:
        return sys.modules.get(self._shape.module)

    def _call_format(self) -> "CallFormat":
        from glowplug.calls import TypedFormat

        return TypedFormat(self.contract)

    def _rows(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Sequence[Mapping[str, Any]] | None:
        if not self._shape.takes_lists:
            return None
        return rows_of(self._shape.label, list(self.contract.types), args, kwargs)

    def _check_streams(self, method: str, *, expected: bool) -> None:
        if self._shape.streams == expected:
            return
        right = (
            method.replace("remote", "stream")
            if self._shape.streams
            else method.replace("stream", "remote")
        )
        what = "yields its answer in pieces" if self._shape.streams else "answers at once"
        raise DefinitionError(
            f"`{self._shape.label}` {what}", hint=f"call `{self._shape.label}.{right}(...)`"
        )

    def __repr__(self) -> str:
        return f"<endpoint {self._shape.module}:{self._shape.label}>"


class FunctionEndpoint(DeclaredEndpoint[P, L]):
    """A decorated function; calling it is a plain local call."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> L:
        """Call the function here, as if it were not decorated."""
        return self._target(*args, **kwargs)  # type: ignore[no-any-return]  # the target has these types


class ClassEndpoint(DeclaredEndpoint[P, L]):
    """A decorated class; calling it makes a plain local instance, whose hooks have not run."""

    def __call__(self, *given: Never, **named: Never) -> Callee[P, L]:
        """Make an instance, as if the class were not decorated; `local()` makes one that is loaded."""
        if given or named:
            label = self._shape.label
            raise DefinitionError(
                f"`{label}(...)` makes an instance and takes no arguments: it is not a call",
                hint=f"`{label}()` makes an instance; `{label}.local()` makes a loaded one; "
                f"`{label}.remote(...)` calls the deployed one",
            )
        return self._target()  # type: ignore[no-any-return]  # the target has this type

    def local(self, *, device: str = "cpu") -> Callee[P, L]:
        """Make an instance here and run its `load` and `warm` hooks; glowplug.testing.local also ends it."""
        instance = self()
        for kind in ("load", "warm"):
            run_hook(instance, kind, self.local_context(device))
        return instance

    def local_context(self, device: str = "cpu") -> Context:
        """Return what hooks are told when they run outside a replica."""
        volumes = {name: home().node / "volumes" / name for name in self._asked.volumes}
        for folder in volumes.values():
            folder.mkdir(parents=True, exist_ok=True)
        return Context(
            app=self._app(),
            endpoint=self._route.endpoint,
            version="local",
            device=device,
            volumes=volumes,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)  # and never look for ourselves in a half-made copy
        return getattr(self._target, name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (self._target,)


class EndpointDecorator(Protocol):
    """What `@endpoint(...)` with options gives."""

    @overload
    def __call__(self, target: type[Callee[P, T]], /) -> ClassEndpoint[P, T]: ...  # type: ignore[overload-overlap]  # a class is callable too, and comes first
    @overload
    def __call__(self, target: Callable[P, T], /) -> FunctionEndpoint[P, T]: ...
    def __call__(self, target: Any, /) -> Any:
        """Make the endpoint."""


@overload
def endpoint(target: type[Callee[P, T]], /) -> ClassEndpoint[P, T]: ...  # type: ignore[overload-overlap]  # as above
@overload
def endpoint(target: Callable[P, T], /) -> FunctionEndpoint[P, T]: ...
@overload
def endpoint(**options: Unpack[EndpointOptions]) -> EndpointDecorator: ...
def endpoint(target: Any = None, /, **options: Any) -> Any:
    """Make an endpoint of a function or class: it still runs here when called, and elsewhere with `.remote(...)`.

    `EndpointOptions` lists the options with their meaning.
    """
    if target is not None:
        return _made(target, EndpointOptions(**options))  # type: ignore[typeddict-item]  # `declared` checks every name
    asked = EndpointOptions(**options)  # type: ignore[typeddict-item]  # as above
    declared(asked)  # a wrong option is an error on its own line, not on the function's
    return lambda decorated: _made(decorated, asked)


def _made(target: Any, options: EndpointOptions) -> DeclaredEndpoint[..., Any]:
    if isinstance(target, DeclaredEndpoint):
        raise DefinitionError(
            f"`{target.__name__}` is an endpoint already",
            hint="write one `@endpoint` with all options",
        )
    return (ClassEndpoint if isinstance(target, type) else FunctionEndpoint)(target, options)


def _dashed(name: str) -> str:
    """Return `image-tagger` for `ImageTagger` and `image_tagger`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)


def _described(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "").strip()[:DESCRIPTION_MAX]
