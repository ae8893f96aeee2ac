"""How can a file that imports torch be read on a machine without torch? With inert stand-ins for what is missing.

Only imports made by the user's own files are answered, and only for top-level modules that nobody else can find: an
installed library that looks for an optional dependency must go on not finding it. A stand-in takes any attribute, call,
subscript, subclass and decoration, does nothing, and is false; used as a decorator it returns the function as it was.
"""

import sys
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from inspect import isclass, isfunction
from pathlib import Path
from types import ModuleType
from typing import Any

from glowplug.suggest import near

_SURE = 0.8  # a missing name this close to one of the user's own files is a typo of it (`utilz`), not a library


class StubBase:
    """What a class gets as its base when the real one is not installed."""

    glowplug_stub = ""  # the real one's path


class Stub:
    """A stand-in for anything inside a missing module."""

    def __init__(self, path: str) -> None:
        self.__dict__["_path"] = path

    def __getattr__(self, name: str) -> Any:
        return _attribute(self.__dict__["_path"], name)

    def __setattr__(self, name: str, value: object) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the function or class when used as a decorator, else another stand-in."""
        if len(args) == 1 and not kwargs and (isfunction(args[0]) or isclass(args[0])):
            return args[0]
        return Stub(f"{self._path}()")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        # A class of its own for each: two equal bases, or a base before its own subclass, would be refused.
        return (type("Missing", (StubBase,), {"glowplug_stub": self.__dict__["_path"]}),)

    def __getitem__(self, key: object) -> "Stub":
        return Stub(f"{self._path}[...]")

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return False

    def __enter__(self) -> "Stub":
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __instancecheck__(self, instance: object) -> bool:
        return False

    def _same(self, *_: object) -> "Stub":
        return self

    def _no(self, *_: object) -> bool:
        return False

    def _zero(self) -> int:
        return 0

    __lt__ = __le__ = __gt__ = __ge__ = _no
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = (
        _same
    )
    __floordiv__ = __mod__ = __pow__ = __matmul__ = __or__ = __ror__ = __and__ = __neg__ = _same
    __int__ = __index__ = _zero

    def __float__(self) -> float:
        return 0.0

    def __repr__(self) -> str:
        return f"<{self._path}, not installed here>"


class _StubModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return _attribute(self.__name__, name)


class MissingModules(MetaPathFinder, Loader):
    """The last finder: answers for missing modules that files under `root` import, and remembers which."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.found: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a stand-in's spec, or None where a plain ModuleNotFoundError is right."""
        top = fullname.partition(".")[0]
        if top in self.found:
            return ModuleSpec(fullname, self, is_package=True)
        if top != fullname or not self._imported_by_user() or self._is_typo(top):
            return None
        self.found.add(top)
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return an empty stand-in."""
        return _StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""

    def own_names_near(self, missing: str) -> list[str]:
        """Return the user's own modules that a missing name resembles."""
        return near(missing, self._own_modules(), 0.7)

    def _is_typo(self, missing: str) -> bool:
        # `tokenizers` beside the user's own tokenizer.py is most likely the library.
        return any(not missing.startswith(own) for own in near(missing, self._own_modules(), _SURE))

    def _own_modules(self) -> list[str]:
        files = [one.stem for one in self.root.glob("*.py")]
        return files + [one.parent.name for one in self.root.glob("*/__init__.py")]

    def _imported_by_user(self) -> bool:
        frame = sys._getframe(1)  # noqa: SLF001  # the import system does not say who asks
        while frame is not None and (
            frame.f_code.co_filename.startswith("<frozen importlib")
            or frame.f_code.co_filename == __file__
        ):
            frame = frame.f_back  # type: ignore[assignment]  # the outermost frame has none, and ends the loop
        return frame is not None and is_users_file(frame.f_code.co_filename, self.root)


def is_users_file(filename: str, root: Path) -> bool:
    """Say whether a file belongs to the project: under its root, and not in an environment that lies there."""
    path = Path(filename).absolute()
    return path.is_relative_to(root) and "site-packages" not in path.parts


@contextmanager
def missing_modules_stubbed(root: Path) -> Iterator[MissingModules]:
    """Answer imports of missing modules with stand-ins, and take the stand-ins away afterwards."""
    finder = MissingModules(root)
    sys.meta_path.append(finder)
    try:
        yield finder
    finally:
        sys.meta_path.remove(finder)
        for name in [
            name for name, module in sys.modules.items() if isinstance(module, _StubModule)
        ]:
            del sys.modules[name]
        PathFinder.invalidate_caches()


def stub_in(annotation: Any) -> str | None:
    """Return the path of a stand-in that an annotation mentions, such as "torch.Tensor"."""
    if isinstance(annotation, Stub):
        return str(annotation.__dict__["_path"])
    if isclass(annotation) and issubclass(annotation, StubBase):
        return annotation.glowplug_stub
    found = (stub_in(argument) for argument in typing.get_args(annotation))
    return next((path for path in found if path), None)


def _attribute(path: str, name: str) -> Any:
    if name == "__version__":
        return "0"
    if name == "__all__":
        return []
    if name.startswith("__") and name.endswith("__"):
        raise AttributeError(
            name
        )  # the import system and inspect ask for these; they want a plain no
    return Stub(f"{path}.{name}")
