"""How does one try an endpoint without a router? In this process, with the hooks a replica would run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from glowplug.endpoints import ClassEndpoint, DeclaredEndpoint
from glowplug.errors import DefinitionError
from glowplug.hooks import run_hook
from glowplug.remote import P

L = TypeVar("L")


@contextmanager
def local(endpoint: DeclaredEndpoint[P, L], *, device: str = "cpu") -> Iterator[Callable[P, L]]:
    """Load and warm an endpoint, lend it for calls in this process, then drain and unload it.

    ```python
    with local(Embed) as embed:
        assert len(embed(["hello"])[0]) == 384
    ```
    """
    if not isinstance(endpoint, ClassEndpoint):
        yield endpoint.target
        return
    hooks_context = endpoint.local_context(device)
    instance = endpoint()
    run_hook(instance, "load", hooks_context)
    try:
        run_hook(instance, "warm", hooks_context)
        if run_hook(instance, "check", hooks_context) is False:
            raise DefinitionError(
                f"the check of `{endpoint.__name__}` says that it is not fit to serve"
            )
        yield instance
        hooks_context.reason = "stop"
        run_hook(instance, "drain", hooks_context)
    finally:
        run_hook(instance, "unload", hooks_context)
