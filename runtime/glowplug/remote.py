"""How does a call leave for a router, and come back as a value or as the user's own exception?"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from copy import copy
from dataclasses import dataclass, replace
from types import ModuleType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
    get_args,
    overload,
)

from glowplug import context
from glowplug.clock import SECOND
from glowplug.context import Answer, Outgoing, Transport
from glowplug.errors import DefinitionError, RemoteError
from glowplug.many import aeach, each
from glowplug.names import app_name, endpoint_name
from glowplug.spec import AFFINITY_MAX, Class, EndpointSpec, Policy
from glowplug.units import Duration, duration_ns

if TYPE_CHECKING:
    from typing import Self

    from glowplug.calls import CallFormat

P = ParamSpec("P")
L = TypeVar("L", covariant=True)  # what a local call gives: a value, a coroutine, an iterator
V = TypeVar("V")  # what a remote call gives: the value, or one item of the stream
R = TypeVar("R", covariant=True)

_EVENTS = "text/event-stream"


class Callee(Protocol[P, R]):
    """Anything with a `__call__`: an instance of a class endpoint."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Answer one call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where calls go and what goes along; what is empty is worked out when a call is made."""

    app: str = ""
    endpoint: str = ""
    version: str = ""
    profile: str = ""
    timeout_s: float | None = None
    klass: Class | None = None
    affinity: str = ""


class Endpoint(Generic[P, L]):
    """Something a router answers for: `f.remote(x)`, `await f.aremote(x)`, `for item in f.stream(x)`."""

    def __init__(self, route: Route) -> None:
        self._route = route

    @staticmethod
    def lookup(name: str, *, version: str = "", profile: str = "") -> "Endpoint[..., Any]":
        """Return a handle on a deployed endpoint, "app/name", whose code is not needed here; nothing is sent yet."""
        app, slash, endpoint = name.partition("/")
        if not slash:
            raise DefinitionError(
                f"{name!r} does not name an endpoint", hint='write Endpoint.lookup("app/endpoint")'
            )
        return Endpoint(
            Route(
                app=app_name(app),
                endpoint=endpoint_name(endpoint),
                version=version,
                profile=profile,
            )
        )

    @staticmethod
    def of(decorated: "type[Callee[P, R]]") -> "Endpoint[P, R]":
        """Return a decorated class as the endpoint it is: mypy overlooks what a decorator makes of a class."""
        if not isinstance(decorated, Endpoint):
            raise DefinitionError(
                f"{decorated!r} is not an endpoint", hint="write `@endpoint` above the class"
            )
        return decorated

    @property
    def spec(self) -> EndpointSpec:
        """Return what runs."""
        self._refuse_without_code("spec")

    @property
    def policy(self) -> Policy:
        """Return how many run and who may call."""
        self._refuse_without_code("policy")

    def using(
        self,
        *,
        deadline: Duration | None = None,
        priority: Class | None = None,
        affinity: str = "",
        version: str = "",
        profile: str = "",
    ) -> "Self":
        """Return the same endpoint with other circumstances for the calls made through it.

        Args:
            deadline: the caller's patience, waiting included.
            priority: "critical", "interactive", "standard" or "batch"; above the endpoint's own only with a key for it.
            affinity: calls with the same text are best served by the same replica: a session, a prompt's prefix.
            version: "v12" or "stable".
            profile: another router than the current one.
        """
        if priority is not None and priority not in get_args(Class):
            known = ", ".join(get_args(Class))
            raise DefinitionError(f"priority={priority!r} is not one of {known}")
        if (
            not affinity.isascii()
            or not affinity.isprintable()
            or " " in affinity
            or len(affinity) > AFFINITY_MAX
        ):
            raise DefinitionError(
                f"affinity={affinity[:40]!r} is not up to {AFFINITY_MAX} printable ASCII characters without blanks",
                hint="a hash of it will do",
            )
        timeout_s = None if deadline is None else duration_ns(deadline, "deadline") / SECOND
        other = copy(self)
        other._route = replace(  # noqa: SLF001  # a copy of ourselves
            self._route,
            timeout_s=self._route.timeout_s if timeout_s is None else timeout_s,
            klass=priority or self._route.klass,
            affinity=affinity or self._route.affinity,
            version=version or self._route.version,
            profile=profile or self._route.profile,
        )
        return other

    @overload
    def remote(
        self: "Endpoint[P, Coroutine[Any, Any, V]]", *args: P.args, **kwargs: P.kwargs
    ) -> V: ...
    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> L: ...
    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call it on the router and wait for the answer."""
        self._check_streams("remote", expected=False)
        rows = self._rows(args, kwargs)
        if rows is not None:
            return each(lambda row: self._ask((), row), rows)
        return self._ask(args, kwargs)

    @overload
    def aremote(
        self: "Endpoint[P, Coroutine[Any, Any, V]]", *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, V]: ...
    @overload
    def aremote(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, L]: ...
    async def aremote(self, *args: Any, **kwargs: Any) -> Any:
        """Call it on the router without blocking."""
        self._check_streams("aremote", expected=False)
        rows = self._rows(args, kwargs)
        if rows is not None:
            return await aeach(lambda row: self._aask((), row), rows)
        return await self._aask(args, kwargs)

    @overload
    def stream(
        self: "Endpoint[P, AsyncIterator[V]]", *args: P.args, **kwargs: P.kwargs
    ) -> Generator[V, None, None]: ...
    @overload
    def stream(
        self: "Endpoint[P, Iterator[V]]", *args: P.args, **kwargs: P.kwargs
    ) -> Generator[V, None, None]: ...
    @overload
    def stream(
        self: "Endpoint[..., Any]", *args: P.args, **kwargs: P.kwargs
    ) -> Generator[Any, None, None]: ...
    def stream(self, *args: Any, **kwargs: Any) -> Any:
        """Call a generator on the router and yield its items as they come; closing the iterator ends the call."""
        self._check_streams("stream", expected=True)
        row = self._only_row(args, kwargs)
        if row is not None:
            return ([item] for item in self._streamed(self._outgoing((), row, accept=_EVENTS)))
        return self._streamed(self._outgoing(args, kwargs, accept=_EVENTS))

    @overload
    def astream(
        self: "Endpoint[P, AsyncIterator[V]]", *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[V, None]: ...
    @overload
    def astream(
        self: "Endpoint[P, Iterator[V]]", *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[V, None]: ...
    @overload
    def astream(
        self: "Endpoint[..., Any]", *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[Any, None]: ...
    def astream(self, *args: Any, **kwargs: Any) -> Any:
        """Like `stream`, without blocking."""
        self._check_streams("astream", expected=True)
        row = self._only_row(args, kwargs)
        if row is not None:
            outgoing = self._outgoing((), row, accept=_EVENTS)
            return ([item] async for item in self._astreamed(outgoing))
        return self._astreamed(self._outgoing(args, kwargs, accept=_EVENTS))

    def _ask(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        try:
            return self._value(self._transport().call(self._outgoing(args, kwargs)))
        except RemoteError as error:
            raise self._users_own(error) from None

    async def _aask(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        try:
            return self._value(await self._transport().acall(self._outgoing(args, kwargs)))
        except RemoteError as error:
            raise self._users_own(error) from None

    def _rows(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Sequence[Mapping[str, Any]] | None:
        """Return the arguments of one call for each entry, where the code takes lists; else None."""
        return None

    def _only_row(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        rows = self._rows(args, kwargs)
        if rows is None:
            return None
        if len(rows) != 1:
            raise DefinitionError(
                f"a stream is of one call, and the lists have {len(rows)} entries",
                hint="call `.stream` for each, with lists of one",
            )
        return rows[0]

    def _streamed(self, outgoing: Outgoing) -> Iterator[Any]:
        format_ = self._call_format()
        try:
            for text in self._transport().stream(outgoing):
                yield format_.item(text)
        except RemoteError as error:
            raise self._users_own(error) from None

    async def _astreamed(self, outgoing: Outgoing) -> AsyncIterator[Any]:
        format_ = self._call_format()
        try:
            async for text in self._transport().astream(outgoing):
                yield format_.item(text)
        except RemoteError as error:
            raise self._users_own(error) from None

    def _outgoing(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], accept: str = ""
    ) -> Outgoing:
        format_ = self._call_format()
        content_type, body = format_.request(args, kwargs)
        route = self._route
        return Outgoing(
            app=self._app(),
            endpoint=route.endpoint,
            version=route.version,
            content_type=content_type,
            accept=accept or format_.accept(content_type),
            body=body,
            timeout_s=route.timeout_s,
            klass=route.klass,
            affinity=route.affinity,
        )

    def _value(self, answer: Answer) -> Any:
        if answer.status >= 400:
            from glowplug.remote_errors import error_from_answer

            raise error_from_answer(answer.status, answer.headers, answer.body)
        return self._call_format().value(answer)

    def _transport(self) -> Transport:
        """Return the rank's own link inside a call, unless a profile was named; else HTTP to the profile's router."""
        call = context.current.get()
        if call is not None and call.transport is not None and not self._route.profile:
            return call.transport
        from glowplug.client import transport_to  # lazily: the HTTP library costs 60 ms
        from glowplug.profiles import resolve

        return transport_to(resolve(self._route.profile or None))

    def _users_own(self, error: RemoteError) -> Exception:
        """Return what the user's code is to see, without the frames that it took on its way through ours."""
        from glowplug.remote_errors import users_own

        return users_own(error, self._home()).with_traceback(None)

    def _app(self) -> str:
        return self._route.app

    def _home(self) -> ModuleType | None:
        """Return the module whose exceptions may come back as themselves."""
        return None

    def _call_format(self) -> "CallFormat":
        from glowplug.calls import UntypedFormat

        return UntypedFormat(f"{self._route.app}/{self._route.endpoint}")

    def _check_streams(self, method: str, *, expected: bool) -> None:
        """Refuse a call that does not fit; without the code nobody knows, and the router will say."""

    def _refuse_without_code(self, what: str) -> NoReturn:
        name = f"{self._route.app}/{self._route.endpoint}"
        raise DefinitionError(
            f"{name} was found by name: its {what} is where its code is",
            hint=f"`glowplug status {name}` shows what is deployed",
        )
