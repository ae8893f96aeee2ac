"""Do all files keep the house rules that ruff, mypy and import-linter cannot express?

Each rule takes one parsed file and names what breaks it. It is run on every file, and on a planted
sample as well: a rule that cannot fail is no rule.
"""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
PACKAGES = ("runtime/glowplug", "packager/glowplug_packager", "router/glowplug_router")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
NAMELESS = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
DECISION = re.compile(
    r"/(policy/\w+|plan|dispatch/\w+|records|digest|wire/(frames|ring)|worker/(ahead|batcher|costs|lengths|lifecycle|poison))\.py$"
)
TODO_WITHOUT_ISSUE = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
IGNORE_WITHOUT_REASON = re.compile(r"#\s*(noqa(:\s*[A-Z0-9, ]+)?|type:\s*ignore(\[[^\]]*\])?)\s*$")
FIGURES = "tests/benchmarks/figures.toml"


@dataclass(frozen=True)
class Source:
    """One Python file; `path` is relative to the repository."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def is_ours(self) -> bool:
        return self.path.startswith(PACKAGES)


Rule = Callable[[Source], Iterator[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def files_end_at_400_lines(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{lines} lines, at most {FILE_LINES_MAX}: it answers more than one question"


def functions_end_at_50_lines(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            lines = length(node)
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name}() has {lines} lines, at most {FUNCTION_LINES_MAX}"


def length(node: Function) -> int:
    """Count from `def` to the end, less the docstring: prose is never too long for the screen."""
    first, last = node.lineno, node.end_lineno or node.lineno
    prose = 0
    if ast.get_docstring(node) is not None:
        prose = (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    return last - first + 1 - prose


def modules_say_which_question_they_answer(source: Source) -> Iterator[str]:
    if not source.is_ours:
        return
    docstring = ast.get_docstring(source.tree, clean=False)
    if not docstring or not docstring.splitlines()[0].strip():
        yield "no module docstring that starts on its first line"


def modules_have_a_name(source: Source) -> Iterator[str]:
    path = Path(source.path)
    for name in (*path.parts[:-1], path.stem):
        if name in NAMELESS:
            yield f"`{name}` is no name: say what it holds"


def decisions_take_the_time_as_an_argument(source: Source) -> Iterator[str]:
    """The import contracts let everyone have `SECOND` from the clock's module; this is their other half."""
    if not DECISION.search(source.path):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "glowplug.clock":
            for name in node.names:
                if not name.name.isupper():
                    yield f"line {node.lineno}: {name.name}; a decision takes `now_ns`"


def nothing_is_patched(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Import(names=names) if any(n.name.startswith("unittest") for n in names):
                yield f"line {node.lineno}: unittest; use a fake that passes the contract suite"
            case ast.ImportFrom(module="unittest" | "unittest.mock"):
                yield f"line {node.lineno}: unittest; use a fake that passes the contract suite"
            case ast.arg(arg="monkeypatch" | "mocker"):
                yield f"line {node.lineno}: {node.arg}; pass the thing in instead"
            case _:
                pass


def no_test_sleeps(source: Source) -> Iterator[str]:
    if not source.path.startswith("tests/") or source.path.startswith("tests/benchmarks/"):
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr="sleep")):
                yield f"line {node.lineno}: time.sleep; wait for the event itself"
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="anyio"), attr="sleep"),
                args=[ast.Constant(value=delay)],
            ) if delay and source.path.startswith("tests/unit/"):
                yield f"line {node.lineno}: a real sleep in a unit test; use ManualClock"
            case _:
                pass


def ignores_and_todos_give_their_reason(source: Source) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type != tokenize.COMMENT:
            continue
        if TODO_WITHOUT_ISSUE.search(token.string):
            yield f"line {token.start[0]}: write TODO(#12), or do it"
        if IGNORE_WITHOUT_REASON.search(token.string):
            yield f"line {token.start[0]}: an ignore needs a code and, after it, a reason"


def benchmarks_print_known_figures(source: Source) -> Iterator[str]:
    """Each `figure("cli", "help_s", …)` has a target; names made at run time are checked there."""
    if not source.path.startswith("tests/benchmarks/"):
        return
    targets: dict[str, dict[str, object]] = tomllib.loads((REPO / FIGURES).read_text())
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(
                func=ast.Name(id="figure") | ast.Attribute(attr="figure"),
                args=[ast.Constant(value=str(bench)), ast.Constant(value=str(name)), *_],
            ) if name not in targets.get(bench, {}):
                yield f"line {node.lineno}: {bench}.{name} has no target in {FIGURES}"
            case _:
                pass


RULES: tuple[Rule, ...] = (
    files_end_at_400_lines,
    functions_end_at_50_lines,
    modules_say_which_question_they_answer,
    modules_have_a_name,
    decisions_take_the_time_as_an_argument,
    nothing_is_patched,
    no_test_sleeps,
    ignores_and_todos_give_their_reason,
    benchmarks_print_known_figures,
)

BROKEN: tuple[tuple[Rule, Source], ...] = (
    (files_end_at_400_lines, Source("tests/long.py", "\n" * 401)),
    (functions_end_at_50_lines, Source("a.py", "def f():\n" + "    x = 1\n" * 50)),
    (modules_say_which_question_they_answer, Source("runtime/glowplug/a.py", "x = 1\n")),
    (modules_have_a_name, Source("router/glowplug_router/utils.py", "")),
    (modules_have_a_name, Source("router/glowplug_router/common/plan.py", "")),
    (
        decisions_take_the_time_as_an_argument,
        Source("router/glowplug_router/plan.py", "from glowplug.clock import SECOND, Clock"),
    ),
    (nothing_is_patched, Source("tests/a.py", "from unittest import mock\n")),
    (nothing_is_patched, Source("tests/a.py", "import unittest.mock\n")),
    (nothing_is_patched, Source("tests/a.py", "def test_a(monkeypatch): ...\n")),
    (no_test_sleeps, Source("tests/system/a.py", "time.sleep(1)\n")),
    (no_test_sleeps, Source("tests/unit/a.py", "await anyio.sleep(0.1)\n")),
    (ignores_and_todos_give_their_reason, Source("a.py", "x = 1  # TO" + "DO later\n")),
    (ignores_and_todos_give_their_reason, Source("a.py", "x = 1  # no" + "qa: S101\n")),
    (ignores_and_todos_give_their_reason, Source("a.py", "x = 1  # type: ig" + "nore[misc]\n")),
    (
        benchmarks_print_known_figures,
        Source("tests/benchmarks/bench_cli.py", "figure('cli', 'nope', 1)\n"),
    ),
)


def sources() -> Iterator[Source]:
    for root in ("runtime", "packager", "router", "tests", "examples"):
        for path in sorted((REPO / root).rglob("*.py")):
            yield Source(path.relative_to(REPO).as_posix(), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    complaints = [f"{source.path}: {said}" for source in sources() for said in rule(source)]

    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(("rule", "broken"), BROKEN)
def test_the_rule_notices_what_breaks_it(rule: Rule, broken: Source) -> None:
    assert list(rule(broken))


def test_every_rule_is_tried_on_something_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)


def test_the_architecture_page_says_what_every_package_is_for() -> None:
    page = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = [one.parent for root in PACKAGES for one in (REPO / root).rglob("__init__.py")]
    names = ["/".join(one.relative_to(REPO).parts[1:]) for one in folders]

    assert not [name for name in names if f"`{name}`" not in page]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_tells_type_checkers_that_it_is_typed(package: str) -> None:
    assert (REPO / package / "py.typed").is_file()
