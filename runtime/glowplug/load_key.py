"""Which code can an endpoint's loading reach? Equal keys: the new handler may use the model that the old one loaded.

For a class, that is what its `load` and `warm` hooks and constructor name, and what that names in turn, as far as it
stands in this module; for a function, the module's own state. Imports always count, and with them the contents of the
project's files that they bring in. Bodies of endpoint functions and of other methods never count. What cannot be seen
in the source (getattr with a made-up name, importlib) is not followed: the key errs only there.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_CONSTRUCTORS = frozenset({"__init__", "__new__", "__post_init__"})
_LOAD_HOOKS = frozenset({"load", "warm"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef
_Import = ast.Import | ast.ImportFrom


def load_key(path: Path, qualname: str, root: Path) -> str:
    """Return the digest of what loading the endpoint `qualname` of a file can reach in the project at `root`."""
    source = _Source(ast.parse(path.read_bytes()))
    reached: dict[str, ast.AST] = {}
    for key, node in _roots(source, qualname):
        _reach(source, key, node, reached)
    imports = [
        one
        for statement in source.statements
        for one in _imports_in(statement, into_functions=False)
    ]
    nested = [one for node in reached.values() for one in _imports_in(node, into_functions=True)]
    lines = {f"{key} {ast.dump(node)}" for key, node in reached.items()}
    lines |= {f"import {ast.dump(one)}" for one in imports}
    lines |= {
        f"file {file.relative_to(root).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}"
        for file in _local_files([*imports, *nested], path, root)
    }
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


@dataclass(slots=True)
class _Source:
    """A module's top level, and which statement binds each of its names."""

    tree: ast.Module
    statements: list[ast.stmt] = field(default_factory=list)
    bound: dict[str, list[ast.stmt]] = field(default_factory=dict)
    decorators: set[str] = field(
        default_factory=set
    )  # names under which glowplug.endpoint is known here

    def __post_init__(self) -> None:
        for statement in self.tree.body:
            if _is_main_guard(statement) or _is_docstring(statement):
                continue
            self.statements.append(statement)
            for name in _names_bound(statement):
                self.bound.setdefault(name, []).append(statement)
            for one in _imports_in(statement, into_functions=False):
                if (
                    isinstance(one, ast.ImportFrom)
                    and (one.module or "").split(".")[0] == "glowplug"
                ):
                    self.decorators |= {
                        alias.asname or alias.name
                        for alias in one.names
                        if alias.name == "endpoint"
                    }

    def is_endpoint(self, node: ast.AST) -> bool:
        """Say whether a definition stands under `@endpoint` or `@endpoint(...)`."""
        return isinstance(node, _Definition) and any(
            self.is_endpoint_decorator(one) for one in node.decorator_list
        )

    def is_endpoint_decorator(self, node: ast.expr) -> bool:
        """Say whether a decorator is ours."""
        called = node.func if isinstance(node, ast.Call) else node
        if isinstance(called, ast.Attribute):
            return called.attr == "endpoint"
        return isinstance(called, ast.Name) and called.id in self.decorators


def _roots(source: _Source, qualname: str) -> Iterator[tuple[str, ast.AST]]:
    target = next(
        (one for one in source.bound.get(qualname, ()) if isinstance(one, _Definition)), None
    )
    if isinstance(target, ast.ClassDef):
        yield from _loading_parts(source, target)
        return
    for number, statement in enumerate(source.statements):
        if not isinstance(statement, _Definition | _Import):
            names = ",".join(sorted(_names_bound(statement))) or str(number)
            yield f"state {names}", statement


def _reach(source: _Source, key: str, node: ast.AST, reached: dict[str, ast.AST]) -> None:
    """Add a node and, transitively, every definition and assignment of the module that it names."""
    waiting = [(key, node)]
    while waiting:
        key, node = waiting.pop()
        if key in reached:
            continue
        reached[key] = node
        for name in sorted({one.id for one in ast.walk(node) if isinstance(one, ast.Name)}):
            for number, statement in enumerate(source.bound.get(name, ())):
                if isinstance(statement, _Import):
                    continue
                if not source.is_endpoint(statement):
                    waiting.append((f"name {name} {number}", statement))
                elif isinstance(statement, ast.ClassDef):
                    waiting += _loading_parts(source, statement)


def _loading_parts(source: _Source, cls: ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    """Yield what of an endpoint class matters to loading: bases, attributes, hooks, and the methods those call."""
    methods = {one.name: one for one in cls.body if isinstance(one, _Function)}
    for number, expression in enumerate([*cls.bases, *(one.value for one in cls.keywords)]):
        yield f"class {cls.name} base {number}", expression
    for number, decorator in enumerate(cls.decorator_list):
        if not source.is_endpoint_decorator(decorator):
            yield f"class {cls.name} decorator {number}", decorator
    for number, statement in enumerate(cls.body):
        if not isinstance(statement, _Function) and not _is_docstring(statement):
            yield f"class {cls.name} attribute {number}", statement
    waiting = [
        name for name, method in methods.items() if name in _CONSTRUCTORS or _is_load_hook(method)
    ]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name == "__call__":
            continue
        seen.add(name)
        yield f"class {cls.name} method {name}", methods[name]
        called = {one.attr for one in ast.walk(methods[name]) if isinstance(one, ast.Attribute)}
        waiting += sorted(called & methods.keys())


def _is_load_hook(method: _Function) -> bool:
    return any(
        isinstance(one, ast.Attribute) and one.attr in _LOAD_HOOKS for one in method.decorator_list
    )


def _names_bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, _Definition):
        return {statement.name}
    bound = {
        one.id
        for one in ast.walk(statement)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    }
    return bound | {one.name for one in ast.walk(statement) if isinstance(one, _Definition)}


def _imports_in(node: ast.AST, *, into_functions: bool) -> Iterator[_Import]:
    if isinstance(node, _Import):
        yield node
    elif into_functions or not isinstance(node, _Definition):
        for child in ast.iter_child_nodes(node):
            yield from _imports_in(child, into_functions=into_functions)


def _local_files(imports: list[_Import], path: Path, root: Path) -> set[Path]:
    """Return the project's files that imports bring in, and those that these import in turn."""
    found: set[Path] = set()
    waiting = [file for one in imports for file in _files_of(one, path, root)]
    while waiting:
        file = waiting.pop()
        if file in found or file == path:
            continue
        found.add(file)
        try:
            tree = ast.parse(file.read_bytes())
        except SyntaxError:
            continue  # its bytes count; what it would import cannot be known
        waiting += [
            other
            for one in _imports_in(tree, into_functions=True)
            for other in _files_of(one, file, root)
        ]
    return found


def _files_of(one: _Import, path: Path, root: Path) -> Iterator[Path]:
    if isinstance(one, ast.Import):
        for alias in one.names:
            yield from _module_files(root, alias.name.split("."))
        return
    base = path.parents[one.level - 1] if 0 < one.level <= len(path.parents) else root
    if not base.is_relative_to(root):
        return
    inside = one.module.split(".") if one.module else []
    for alias in one.names:
        yield from _module_files(base, [*inside, alias.name])


def _module_files(base: Path, names: list[str]) -> Iterator[Path]:
    """Yield the files of a dotted name: every package on the way, and the module at its end."""
    for depth in range(1, len(names) + 1):
        place = base.joinpath(*names[:depth])
        yield from (
            file
            for file in (place / "__init__.py", place.parent / f"{place.name}.py")
            if file.is_file()
        )


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_main_guard(statement: ast.stmt) -> bool:
    """Say whether this is `if __name__ == "__main__":`, which never runs in a replica."""
    return isinstance(statement, ast.If) and any(
        isinstance(one, ast.Name) and one.id == "__name__" for one in ast.walk(statement.test)
    )
