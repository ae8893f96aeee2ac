"""Which edits may keep a loaded model, and which may not?"""

from pathlib import Path

import pytest

from glowplug.load_key import load_key

MODEL = '''
import math
from glowplug import endpoint, on
from parts import weights

SIZE = 3
LABEL = "x"
UNUSED = 1

def build(size):
    return weights(size)

def polish(text):
    return text.strip()

@endpoint(gpu=1)
class Embed:
    """Embed."""

    kind = "a"

    @on.load
    def load(self):
        self.model = self.prepare(build(SIZE))

    def prepare(self, model):
        return model

    def __call__(self, text: str) -> str:
        return polish(text) + LABEL

@endpoint
def other(x: int) -> int:
    return x

if __name__ == "__main__":
    print(Embed())
'''
PARTS = "from deeper import base\ndef weights(size): return base\n"


def key(
    root: Path,
    model: str = MODEL,
    parts: str = PARTS,
    deeper: str = "base = 1\n",
    name: str = "Embed",
) -> str:
    (root / "app.py").write_text(model)
    (root / "parts.py").write_text(parts)
    (root / "deeper.py").write_text(deeper)
    return load_key(root / "app.py", name, root)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return polish(text) + LABEL", "return text"),
        ('LABEL = "x"', 'LABEL = "y"'),
        ("UNUSED = 1", "UNUSED = 2"),
        ("return text.strip()", "return text.upper()"),
        ("    return x\n", "    return x + 1\n"),
        ("@endpoint(gpu=1)", "@endpoint(gpu=2)"),
        ('"""Embed."""', '"""Another docstring."""'),
        ("print(Embed())", "print(1)"),
        ("SIZE = 3", "SIZE = 3  # a comment"),
    ],
)
def test_an_edit_that_loading_cannot_see_keeps_the_key(tmp_path: Path, old: str, new: str) -> None:
    assert old in MODEL
    assert key(tmp_path, MODEL.replace(old, new)) == key(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SIZE = 3", "SIZE = 4"),
        ("return weights(size)", "return weights(size + 1)"),
        ('kind = "a"', 'kind = "b"'),
        ("        return model\n", "        return model.half()\n"),
        ("self.model = self", "self.m = self"),
        ("import math", "import cmath"),
        ("class Embed:", "class Embed(dict):"),
    ],
)
def test_an_edit_that_loading_can_see_changes_the_key(tmp_path: Path, old: str, new: str) -> None:
    assert old in MODEL
    assert key(tmp_path, MODEL.replace(old, new)) != key(tmp_path)


def test_the_projects_files_count_as_far_as_imports_reach(tmp_path: Path) -> None:
    before = key(tmp_path)

    assert key(tmp_path, parts=PARTS + "# changed\n") != before
    assert key(tmp_path, deeper="base = 2\n") != before
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    assert key(tmp_path) == before


def test_a_functions_model_is_its_modules_state(tmp_path: Path) -> None:
    text = "from glowplug import endpoint\ndef make(): return 1\nmodel = make()\n"
    text += "@endpoint\ndef f(x: int) -> int:\n    return x\n"
    before = key(tmp_path, text, name="f")

    assert key(tmp_path, text.replace("return x", "return model"), name="f") == before
    assert key(tmp_path, text.replace("return 1", "return 2"), name="f") != before
    assert key(tmp_path, text.replace("model = make()", "model = 3"), name="f") != before


def test_a_file_of_a_package_is_reached_by_a_relative_import(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    for name, text in (
        ("__init__", ""),
        ("parts", "x = 1\n"),
        ("app", "from . import parts\nfrom .parts import x\n"),
    ):
        (package / f"{name}.py").write_text(text)
    before = load_key(package / "app.py", "f", tmp_path)
    (package / "parts.py").write_text("x = 2\n")

    assert load_key(package / "app.py", "f", tmp_path) != before
